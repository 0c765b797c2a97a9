"""What a script's memory grows by with 1,000,000 records that nobody takes: on disk, and without one."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from figures import Figure, report, size

RECORDS: Final = 1_000_000
BUDGET_MIB: Final = 20.0


def main() -> None:
    """Measure both in processes of their own."""
    if sys.platform != "linux":
        return
    records = size(RECORDS)
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "no-folder").touch()  # below a file nothing can be made: records are kept in memory
        for what, folder in (("", "state"), (", no disk", "no-folder/state")):
            script = [sys.executable, __file__, "--log", str(records), str(Path(name) / folder)]
            done = subprocess.run(script, stdout=subprocess.PIPE, text=True, check=True)
            before, most = (float(number) for number in done.stdout.split())
            title = f"memory added by import and {records:,} unsent records{what}, at most"
            report([Figure(title, most - before, "MiB", BUDGET_MIB)])


def log(records: int, folder: str) -> None:
    """Log so many records from a fresh interpreter; prints MiB before the import and the most there were."""
    before = read_memory("VmRSS")
    import lossboard

    run = lossboard.init(project="bench", dir=folder)
    for i in range(records):
        run.log(i // 10_000, i % 10_000, 0.25, 32)
    run.finish()
    print(before, read_memory("VmHWM"))


def read_memory(which: str) -> float:
    """Return what the system tells of this process, in MiB: VmRSS now, VmHWM at most so far."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(rf"^{which}:\s+(\d+) kB", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


if __name__ == "__main__":
    if "--log" in sys.argv:
        log(int(sys.argv[2]), sys.argv[3])
    else:
        main()
