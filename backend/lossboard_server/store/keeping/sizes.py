"""How much room runs take: records counted, bytes as a share of what the database holds."""

from typing import NamedTuple

from sqlalchemy import Connection, func, select

from lossboard_server.store.database import count_used_bytes
from lossboard_server.store.tables import RunRow


class Room(NamedTuple):
    """What the whole store holds, runs that are being deleted included."""

    records: int
    bytes: int

    def share(self, records: int) -> int:
        """Estimate the bytes of some records: no database counts those of one run without reading them all.

        Short epochs take more of it than long ones, by their summaries.
        """
        return round(self.bytes * records / self.records) if self.records else 0


def measure_room(connection: Connection) -> Room:
    """Measure the store. Cost: one row a run."""
    records = int(connection.execute(select(func.sum(RunRow.records))).scalar() or 0)
    return Room(records, count_used_bytes(connection, records))
