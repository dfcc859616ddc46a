"""A decoding step in C++, compiled for the processor at hand when it is first needed.

In: weights by their stock names. Out: logits.
Refuses: machines without a compiler, models that the kernel does not know; writing then uses torch.
"""
