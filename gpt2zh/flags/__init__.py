"""The command line of every script, as typed fields: one place declares a flag, checks it and explains it.

In: argv. Out: frozen dataclasses.
Refuses: unknown names, values out of range, flags that contradict each other; all of them in one message.
"""
