"""A user's files -> documents, one at a time, in memory that does not grow with them.

In: files in any encoding and format, folders, data sets. Out: strings with \\n as line end.
Refuses: files that are not text, JSON that does not parse; a broken byte costs one character.
"""
