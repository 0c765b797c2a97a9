"""Scripts in real interpreters of their own, and what they left in their state folder."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

from lossboard.journal.reading import read_manifest, read_records, read_series


def run_script(
    script: str, *, timeout_s: float = 30.0, file: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a script to its end, from `file` where one is given: children that are spawned import it."""
    source = textwrap.dedent(script)
    if file is not None:
        file.write_text(source)
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", *(["-c", source] if file is None else [str(file)])],
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def start_script(script: str, **environment: str) -> subprocess.Popen[str]:
    """Start a script that is talked to through its stdin and stdout."""
    return subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(script)],
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def exit_delay_s(done: subprocess.CompletedProcess[str]) -> float:
    """How long ago a script that has ended printed, as its last line, the time of its last statement."""
    return time.time() - float(done.stdout.splitlines()[-1])


def journals(folder: Path) -> list[Path]:
    """Return the writers' folders that are left."""
    root = folder / "journal"
    return sorted(root.iterdir()) if root.is_dir() else []


def journalled(folder: Path, *keys: str) -> list[Any]:
    """Return the named values of every record in the journals of a state folder; none may be damaged."""
    found = []
    for journal in journals(folder):
        names = [series.name for series in read_series(journal)]
        for index, record in read_records(journal):
            assert record is not None, f"record {index} of {journal} is damaged"
            values = {**record._asdict(), "series": names[record.series]}
            found.append(tuple(values[key] for key in keys))
    return found if len(keys) != 1 else [value for (value,) in found]


def ended(folder: Path) -> list[str | None]:
    """Return how the journals say that their runs ended."""
    return [read_manifest(journal).get("ended") for journal in journals(folder)]
