"""Why a database is not opened, as one tree; each message says what happened and what to do.

UnusableDatabase            nothing in the file was changed
├── DatabaseInUse           another process writes it
├── NetworkFileSystem       SQLite's locks and shared memory don't hold there
├── NewerDatabase           a later release has written it
├── ForeignDatabase         it holds something else than Lossboard's tables
└── DamagedDatabase         it can't be read as SQLite wrote it

For whoever starts a process, so paths may be named; callers over HTTP are told by `errors`.
"""

from typing import ClassVar


class UnusableDatabase(RuntimeError):
    """The root: a database that is left as it is."""

    exit_code: ClassVar[int] = 2
    """What a command ends with: 2 asks for another setting, 3 for a repair."""


class DatabaseInUse(UnusableDatabase):
    """Another process owns the file: store/files/ownership.py."""


class NetworkFileSystem(UnusableDatabase):
    """The file would stand on another machine's disk: store/files/mounts.py."""


class NewerDatabase(UnusableDatabase):
    """The database was written by a later release than this one."""


class ForeignDatabase(UnusableDatabase):
    """The database has tables, and none that say they are Lossboard's."""


class DamagedDatabase(UnusableDatabase):
    """The file is not as SQLite wrote it."""

    exit_code = 3
