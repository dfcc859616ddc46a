"""Documents -> a corpus: cleaned, cut into chapters, without copies, with a report of what was done.

In: documents. Out: pieces, and counts for each rule.
Refuses: nothing that is text; what a rule removes is counted and shown.
"""
