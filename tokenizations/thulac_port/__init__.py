"""THULAC's word segmentation, by numpy over thulac's own model files.

In: lines. Out: words, as thulac cuts them.
Refuses: model files that are not those of thulac 0.2.2, by their form.
"""
