"""Runs the benchmarks one after the other, each in a process of its own, and writes what they measured.

    python tests/benchmarks/run.py [--quick] [NAME …]      or: make bench ONLY="log_calls store"

Timed numbers are printed beside a floor of the same run where one exists; nothing is asserted.
"""

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

from figures import Figure, show_table

HERE = Path(__file__).parent
OUTPUT = HERE.parents[1] / "build" / "bench.json"
BENCHMARKS = {
    "start": "importing the client, starting the service",
    "log_calls": "time inside one call of log, the service running",
    "hook": "what watch adds to a training step",
    "delivery": "from log to readable over HTTP",
    "store": "1,000,000 records into the store and out as curves",
    "page": "in a real browser",
}


def main(arguments: list[str]) -> int:
    """Run the named benchmarks, or all; returns 1 when one of them failed."""
    options = [argument for argument in arguments if argument.startswith("-")]
    names = [argument for argument in arguments if not argument.startswith("-")] or list(BENCHMARKS)
    if unknown := set(names) - set(BENCHMARKS):
        print(f"No benchmark named {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}.")
        return 2
    measured: dict[str, list[Figure]] = {}
    for name in names:
        print(f"\n{name}: {BENCHMARKS[name]}", flush=True)
        figures = run_one(name, options)
        if figures is None:
            continue
        measured[name] = figures
        show_table(figures)
    write_json(measured)
    return 0 if len(measured) == len(names) else 1


def run_one(name: str, options: list[str]) -> list[Figure] | None:
    """Run one benchmark; None when it failed, its traceback then stands on stderr."""
    path = os.pathsep.join([str(HERE), str(HERE.parent)])
    done = subprocess.run(
        [sys.executable, str(HERE / f"{name}.py"), *options],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        print(f"  failed with {done.returncode}\n{done.stdout}")
        return None
    # Other lines are the run's own, such as the one that names its address.
    return [Figure(**json.loads(line)) for line in done.stdout.splitlines() if line.startswith('{"what"')]


def write_json(measured: dict[str, list[Figure]]) -> None:
    """Write what was measured, with the machine that it was measured on."""
    OUTPUT.parent.mkdir(exist_ok=True)
    document = {
        "time_unix_s": time.time(),
        "machine": platform.platform(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "figures": {name: [figure._asdict() for figure in figures] for name, figures in measured.items()},
    }
    OUTPUT.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"\nWritten to {OUTPUT.relative_to(Path.cwd()) if OUTPUT.is_relative_to(Path.cwd()) else OUTPUT}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
