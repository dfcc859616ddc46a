"""A model -> texts: a cache, a choice of tokens, requests that come and go, samples on screen and disk.

In: a model folder and requests. Out: events, then finished samples.
Refuses: settings that contradict each other, weights that are not finite.
"""
