"""Ids -> nats: a stock GPT-2, its forward pass and its loss.

In: a configuration or a model folder. Out: a GPT2LMHeadModel and the module that trains it.
Refuses: shapes that cannot be, weights that are not the configuration's.
"""
