"""How long `finish` holds a script up: the service running, gone in the middle, and never there."""

import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Final

from delivery import Reader
from figures import Figure, report, size

import lossboard
from lossboard.run import EXIT_DEADLINE_S
from processes import Service, running_service

UNSENT: Final = 100_000
BUDGET_MS: Final = 1e3 * EXIT_DEADLINE_S + 100  # to wake a thread


def main() -> None:
    """Measure the three, each with runs and folders of its own."""
    with tempfile.TemporaryDirectory() as name:
        unsent = size(UNSENT)
        with running_service(Path(name) / "live") as service:
            report(measure_live(service, unsent))
            run = start_run(service.folder)
            log(run, range(1))
            Reader(service, run.id).wait_for(1)
        log(run, range(1, unsent + 1))
        title = f"finish with {unsent:,} unsent records, the service gone"
        report([Figure(title, time_finish(run), "ms", BUDGET_MS)])
        run = start_run(Path(name) / "absent")
        log(run, range(1, unsent + 1))
        title = f"finish with {unsent:,} unsent records, never a service"
        report([Figure(title, time_finish(run), "ms", BUDGET_MS)])


def measure_live(service: Service, unsent: int) -> list[Figure]:
    """Log while the service stands still, wake it and finish."""
    run = start_run(service.folder)
    log(run, range(1))
    reader = Reader(service, run.id)
    reader.wait_for(1)
    os.kill(service.pid, signal.SIGSTOP)
    try:
        log(run, range(1, unsent + 1))
    finally:
        os.kill(service.pid, signal.SIGCONT)
    ms = time_finish(run)
    title = f"finish with {unsent:,} unsent records, the service running"
    return [
        Figure(title, ms, "ms", BUDGET_MS),
        Figure("of these delivered when it returned", 100 * (reader.count() - 1) / unsent, "%"),
    ]


def start_run(folder: Path) -> lossboard.Run:
    """Start a run that looks for a service in one folder only."""
    return lossboard.init(project="bench", dir=str(folder))


def log(run: lossboard.Run, numbers: range) -> None:
    """Log records, no batch twice."""
    for i in numbers:
        run.log(i // 10_000, i % 10_000, 0.25, 32)


def time_finish(run: lossboard.Run) -> float:
    """Return the ms that `finish` takes."""
    begin = time.perf_counter()
    run.finish()
    return 1e3 * (time.perf_counter() - begin)


if __name__ == "__main__":
    main()
