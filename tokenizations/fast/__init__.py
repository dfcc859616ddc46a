"""The same ids as the `tokenizers` pipelines, by numpy.

In: texts. Out: ids, many units at once.
Refuses: pipelines that it cannot read; these go through the library.
"""
