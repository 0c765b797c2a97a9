"""The tables. Every primary key of a run's data leads with the run, so that it can be partitioned by it.

Times are unix seconds in UTC. NaN is stored as NULL, since SQLite has no NaN; ±Infinity
as itself.
"""

from lossboard_server.store.tables.base import Base
from lossboard_server.store.tables.records import IS_EXTREME, BucketRow, EpochBucketRow, EpochRow, RecordRow
from lossboard_server.store.tables.runs import (
    IMPORT_WRITER,
    SILENT,
    TRAIN_SPLIT,
    AttemptRow,
    LoginCodeRow,
    RunKeyRow,
    RunRow,
    SeriesRow,
    WriterRow,
)

__all__ = [
    "AttemptRow",
    "Base",
    "BucketRow",
    "EpochBucketRow",
    "EpochRow",
    "IMPORT_WRITER",
    "IS_EXTREME",
    "LoginCodeRow",
    "RecordRow",
    "RunKeyRow",
    "RunRow",
    "SILENT",
    "SeriesRow",
    "TRAIN_SPLIT",
    "WriterRow",
]
