"""100 runs that log 100 records/s each, 20 viewers who follow: is any turned away, how late do viewers see?

Writers and viewers are a process each, light ones, since they share the cores with the service; what they
took of them is told. A writer sends as the client's sender does: what was logged, then a short rest.
A viewer does what the page does: it is told of changes by its event stream, and then asks for both kinds of
curves with `since`, each at most twice a second, and for the list of runs.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from figures import Figure, note, quantile, report, size

from processes import Service, running_service

RUNS: Final = 100
VIEWERS: Final = 20
SECONDS: Final = 30
LEAST_SECONDS: Final = 4  # with --quick
DELAY_BUDGET_MS: Final = 1_000.0
TICKS_A_S: Final = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
LEAD_S: Final = 2.0  # until both processes have started


def main() -> None:
    """Let them write and follow for a while, and say how it went."""
    seconds = max(LEAST_SECONDS, size(SECONDS))
    with tempfile.TemporaryDirectory() as name, running_service(Path(name)) as service:
        for number in range(RUNS):
            service.send(
                "PUT", f"/api/v1/runs/crowd-{number}", {"project": "bench", "name": f"crowd {number}"}
            )
        begin = time.time() + LEAD_S
        plan = {
            "port": service.port,
            "token": service.token,
            "begin": begin,
            "seconds": seconds,
            "runs": RUNS,
        }
        writers, viewers = start("writers", plan), start("viewers", plan | {"viewers": VIEWERS})
        before = cpu_seconds(service)
        wrote, saw = finish(writers), finish(viewers)
        used = cpu_seconds(service) - before
    title = f"{RUNS} runs × 100 records/s, {VIEWERS} viewers"
    report(tell(title, wrote, saw))
    if used:
        shares = {
            "service": used / seconds,
            "writers": wrote["cpu_s"] / seconds,
            "viewers": saw["cpu_s"] / seconds,
        }
        told = ", ".join(f"{who} {100 * share:.0f} %" for who, share in shares.items())
        note(f"crowd: of one core each took {told}.")


def tell(title: str, wrote: dict[str, Any], saw: dict[str, Any]) -> list[Figure]:
    """Return the figures of both sides."""
    delays, posts, answers = saw["delays_ms"], wrote["posts_ms"], saw["answers_ms"]
    return [
        Figure(f"{title}: refused with 429", wrote["refused"] + saw["refused"], "", 0),
        Figure(f"{title}: log to a viewer's curve, median", statistics.median(delays), "ms"),
        Figure(f"{title}: log to a viewer's curve, p95", quantile(delays, 0.95), "ms", DELAY_BUDGET_MS),
        Figure(f"{title}: log to a viewer's curve, max", max(delays), "ms"),
        Figure(f"{title}: records missing in a curve at the end", saw["missing"], "", 0),
        Figure(f"{title}: deliveries a second", len(posts) / wrote["seconds"], "/s"),
        Figure(f"{title}: until a delivery is acknowledged, p95", quantile(posts, 0.95), "ms"),
        Figure(f"{title}: answers a second to viewers", len(answers) / saw["seconds"], "/s"),
        Figure(f"{title}: curves with since, p95", quantile(answers, 0.95), "ms"),
        Figure(f"{title}: of these told everything anew", 100 * saw["resets"] / len(answers), "%"),
        Figure(f"{title}: list of runs, p95", quantile(saw["lists_ms"], 0.95), "ms"),
    ]


def start(who: str, plan: dict[str, Any]) -> "subprocess.Popen[str]":
    """Start one of the two processes."""
    script = Path(__file__).with_name(f"crowd_{who}.py")
    command = [sys.executable, str(script), json.dumps(plan)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def finish(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """Wait for what a process measured. Raises: RuntimeError."""
    said, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
    measured: dict[str, Any] = json.loads(said)
    return measured


def cpu_seconds(service: Service) -> float:
    """Return what the service and its readers have used of the cores; 0 where the system does not tell."""
    if sys.platform != "linux":
        return 0.0
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            pid, _, rest = path.read_text(encoding="ascii", errors="replace").partition(" ")
            fields = rest.rpartition(")")[2].split()
            if service.pid in (int(pid), int(fields[1])):
                ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS_A_S


if __name__ == "__main__":
    main()
