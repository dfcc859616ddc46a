"""What the operating system gives: files that are whole or not there, one owner for a folder, all cores, signals, memory.

In: paths, work. Out: files, results in order.
Refuses: paths that cannot be read or written, folders that another process writes to.
"""
