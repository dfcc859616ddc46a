"""Text <-> ids, for every kind of vocabulary.

In: vocabulary files, texts, ids. Out: a `Tokenizer`, ids, texts.
Refuses: files that are not a vocabulary, with the line; a vocabulary that is not the model's.
"""
