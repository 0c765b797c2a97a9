"""What was logged held against what a service holds: each record of each start of a loop, exactly once."""

import json
import sqlite3
import struct
import subprocess
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

from lossboard_server.store.checks.checking import check_file, check_run, list_runs
from lossboard_server.store.database import open_engine
from processes import poll, start_script

LOOP = Path(__file__).with_name("live") / "loop.py"
LOOP_TIMEOUT_S = 120.0


class Loop:
    """One start of `live/loop.py`; its epoch is what its records are known by."""

    def __init__(self, folder: Path, epoch: int, *arguments: str, **environment: str) -> None:
        self.epoch = epoch
        self.stop_file = folder / f"stop-{epoch}"
        self._count = folder / f"count-{epoch}"
        told = (str(self._count), "--epoch", str(epoch), "--stop", str(self.stop_file), *arguments)
        self.process: subprocess.Popen[str] = start_script(LOOP, folder, *told, environment=environment)

    def logged(self) -> int:
        """Return how many calls of `log` returned so far."""
        content = self._count.read_bytes() if self._count.exists() else b""
        return int(struct.unpack("<q", content)[0]) if len(content) == 8 else 0

    def wait_for(self, records: int) -> None:
        """Wait until so many calls returned."""
        poll(lambda: self.logged() >= records, f"{records} calls of log")

    def kill(self) -> None:
        """End it with signal 9, and read what it still said so that no pipe is left open."""
        self.process.kill()
        self.process.communicate(timeout=LOOP_TIMEOUT_S)

    def end(self) -> dict[str, Any]:
        """Let it come to its end and return what it says of it."""
        self.stop_file.touch()
        output, _ = self.process.communicate(timeout=LOOP_TIMEOUT_S)
        assert self.process.returncode == 0, output
        about: dict[str, Any] = json.loads(output.splitlines()[-1])
        about["output"] = output
        assert about["logged"] == self.logged()
        print({key: about[key] for key in about if key != "output"})
        return about


def read_rows(database: Path) -> Counter[tuple[int, int, float]]:
    """Read (epoch, batch, loss) of all runs as any SQLite tool would, from the plain rows."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        return Counter(connection.execute("SELECT epoch, batch, loss FROM records").fetchall())
    finally:
        connection.close()


def count_rows(database: Path, epoch: int) -> int:
    """Count the records of one start."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        return int(connection.execute("SELECT count(*) FROM records WHERE epoch = ?", (epoch,)).fetchone()[0])
    finally:
        connection.close()


def find_disagreements(database: Path) -> list[str]:
    """Say which summaries differ from what their rows give, and what else of a file is not whole."""
    engine = open_engine(f"sqlite:///{database}")
    try:
        with engine.connect() as connection, connection.begin():
            found = list(check_file(connection))
            for run in list_runs(connection):
                found += check_run(connection, run.key, lambda _: None)
    finally:
        engine.dispose()
    return [finding.what for finding in found]


def find_faults(database: Path, logged: dict[int, int], killed: Collection[int] = ()) -> list[str]:
    """Say what is missing of these starts, is there twice, or was never logged.

    The record under way at a kill may be there or not.
    """
    rows = read_rows(database)
    faults = [f"{row} was never logged" for row in rows if row[2] != row[0] * 10**6 + row[1]][:3]
    for epoch, count in logged.items():
        times = {batch: n for (of, batch, _), n in rows.items() if of == epoch}
        missing = [batch for batch in range(count) if batch not in times]
        twice = [batch for batch, n in times.items() if n != 1]
        extra = [batch for batch in times if batch >= count + (epoch in killed)]
        if missing or twice or extra:
            faults.append(f"of {count} of start {epoch}: {missing=} {twice=} {extra=}"[:300])
    return faults
