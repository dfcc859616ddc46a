"""A corpus -> ids on disk -> windows for training.

In: documents and a tokenizer. Out: uint16 files with a manifest; (B, T) arrays in an order that is a function of (seed, epoch).
Refuses: shards that are damaged or were made with another vocabulary.
"""
