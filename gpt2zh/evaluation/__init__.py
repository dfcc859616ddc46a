"""How good a model, and a text, is.

In: a loss and batches. Out: nats per token, perplexity, bits per character.
Refuses: a text without tokens.
"""
