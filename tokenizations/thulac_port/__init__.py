"""THULAC's word segmentation, by numpy over thulac's own model files.

In: lines. Out: words, as thulac cuts them.
Refuses: an installation without model files.
"""
