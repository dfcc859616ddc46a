"""What a training run is made of, and how it is made before the first step.

In: train.py's flags. Out: a `Run`.
Refuses, before anything long is done: what cannot be read, what does not fit together, and to go on from a checkpoint of another run.
"""
