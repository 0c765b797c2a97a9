"""Before a SQLite file is opened: whose it is, where it lies, whether it is one."""
