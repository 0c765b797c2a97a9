"""How fast `lossboard sync` brings 1,000,000 records that were made offline to a service."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from delivery import Reader
from figures import Figure, note, report, size

import lossboard
from processes import clean_environment, running_service

RECORDS: Final = 1_000_000
SYNC: Final = (sys.executable, "-m", "lossboard.cli", "sync")


def main() -> None:
    """Make a journal offline and sync its folder, then sync it again."""
    with tempfile.TemporaryDirectory() as name:
        environment = clean_environment(Path(name))
        if subprocess.run([*SYNC, "--help"], env=environment, capture_output=True, check=False).returncode:
            note("sync: this lossboard has no such command.")
            return
        offline, records = Path(name) / "offline", size(RECORDS)
        # In a process that has ended: one that lives may still write its journal.
        recorder = [sys.executable, __file__, "--record", str(records), str(offline)]
        done = subprocess.run(recorder, stdout=subprocess.PIPE, text=True, check=True)
        with running_service(Path(name) / "service") as service:
            environment |= {"LOSSBOARD_URL": service.url, "LOSSBOARD_TOKEN": service.token}
            seconds = time_sync(offline, environment)
            stored = Reader(service, done.stdout.strip()).count()
        title = f"lossboard sync, {records:,} offline records"
        report([Figure(f"{title}, a second", records / seconds, "1/s")])
        report([Figure(f"{title}, missing at its end", records - stored, "records", 0)])


def record(records: int, folder: str) -> None:
    """Log so many records offline and print the run's id."""
    run = lossboard.init(project="bench", mode="offline", dir=folder)
    for i in range(records):
        run.log(i // 10_000, i % 10_000, 0.25, 32)
    run.finish()
    print(run.id)


def time_sync(folder: Path, environment: dict[str, str]) -> float:
    """Return the seconds from the start of the command to its end."""
    begin = time.perf_counter()
    subprocess.run([*SYNC, str(folder)], env=environment, stdout=sys.stderr, check=True)
    return time.perf_counter() - begin


if __name__ == "__main__":
    if "--record" in sys.argv:
        record(int(sys.argv[2]), sys.argv[3])
    else:
        main()
