"""The journal: the queue, the offline spool and the crash log of one writer, in a folder on disk."""
