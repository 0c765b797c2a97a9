"""1,000,000 records into the store through HTTP, in turns with the floors: bare FastAPI, sqlite3 alone."""

import statistics
import tempfile
from pathlib import Path
from typing import Final

from figures import OURS, Figure, note, report, size
from filling import fill_run, make_bodies
from floor import post_bodies, running_floor, write_rows

from processes import running_service

RECORDS: Final = 1_000_000
ROUNDS: Final = 3
RATE_BUDGET: Final = 200_000.0
HTTP_FLOOR: Final = "floor"
SQLITE_FLOOR: Final = "sqlite3"


def main() -> None:
    """Let the three take turns, so that all see the same minutes of the machine; medians are told."""
    records = size(RECORDS)
    seconds: dict[str, list[float]] = {OURS: [], HTTP_FLOOR: [], SQLITE_FLOOR: []}
    with (
        tempfile.TemporaryDirectory() as name,
        running_service(Path(name) / "service") as service,
        running_floor() as port,
    ):
        for number in range(ROUNDS):
            bodies = make_bodies(records, writer=f"w{number}")
            seconds[HTTP_FLOOR].append(post_bodies(port, bodies))
            seconds[OURS].append(fill_run(service, f"run-{number}", bodies))
            file = Path(name) / f"floor-{number}.db"
            took, disk_bytes = write_rows(file, bodies)
            seconds[SQLITE_FLOOR].append(took)
            file.unlink()
    title = f"{records:,} records into the store, a second"
    rates = {whose: records / statistics.median(times) for whose, times in seconds.items()}
    for whose, rate in rates.items():
        report([Figure(title, rate, "records/s", RATE_BUDGET, whose, is_least=True)])
    for whose in (HTTP_FLOOR, SQLITE_FLOOR):
        share = 100 * rates[OURS] / rates[whose]
        report([Figure("of this floor's speed ours has", share, "%", whose=whose)])
    report([Figure("disk for a record, rows only", disk_bytes / records, "B", whose=SQLITE_FLOOR)])
    note(
        "ingest: the floor decodes the same bodies with a bare FastAPI route and stores nothing; sqlite3"
        " writes the same rows from memory, a body a commit, without HTTP and without summaries."
    )


if __name__ == "__main__":
    main()
