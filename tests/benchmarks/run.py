"""Runs the benchmarks one after the other, each in a process of its own, and shows what they measured.

    python tests/benchmarks/run.py [--quick[=N]] [--no-peers] [--markdown] [--output=FILE] [NAME …]
    make bench ONLY="log_calls store" BENCH_ARGS="--quick"

One table: ours, a floor of the same run and the peers where they measure the same, and our budget. It ends
with what is over its budget; nothing is asserted. --quick makes a twentieth, or one in N, of the repetitions.
"""

import json
import os
import platform
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Final

from figures import Figure, arrange, show_markdown, show_over, show_table

HERE: Final = Path(__file__).parent
WIDTH: Final = 110
OUTPUT: Final = HERE.parents[1] / "build" / "bench.json"
BENCHMARKS: Final = {
    "start": "importing the client, starting the service",
    "log_calls": "time inside one call of log, beside its floor and the peers",
    "memory": "what 1,000,000 unsent records add to a script",
    "hook": "what watch adds to a training step",
    "delivery": "from log to readable over HTTP",
    "ending": "how long finish takes",
    "sync": "1,000,000 offline records by lossboard sync",
    "ingest": "1,000,000 records into the store, beside the floors",
    "store": "1,000,000 records into the store and out as curves",
    "tracking": "the same of the peers",
    "large": "a run of 10,000,000 records: memory, curve, followers",
    "long": "a run of 100,000 epochs",
    "crowd": "100 runs that log and 20 viewers who follow",
    "postgres": "the same on PostgreSQL, one service and two",
    "page": "in a real browser",
}


def main(arguments: list[str]) -> int:
    """Run the named benchmarks, or all; returns 1 when one of them failed."""
    options = [argument for argument in arguments if argument.startswith("-")]
    names = [argument for argument in arguments if not argument.startswith("-")] or list(BENCHMARKS)
    if unknown := set(names) - set(BENCHMARKS):
        print(f"No benchmark named {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}.")
        return 2
    figures: dict[str, list[Figure]] = {}
    notes: list[str] = []
    try:
        for name in names:
            begin = time.monotonic()
            print(f"{name}: {BENCHMARKS[name]} …", file=sys.stderr, flush=True)
            lines = run_one(name, options)
            if lines is None:
                continue
            figures[name] = [Figure(**line) for line in lines if "what" in line]
            notes += [line["note"] for line in lines if "note" in line]
            print(f"  took {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        notes.append("Stopped before the end.")
    show(figures, notes, is_markdown="--markdown" in options)
    output = next((option[9:] for option in options if option.startswith("--output=")), None)
    write_json(Path(output) if output else OUTPUT, figures, notes)
    return 0 if len(figures) == len(names) else 1


def run_one(name: str, options: list[str]) -> list[dict[str, object]] | None:
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
        print(f"  failed with {done.returncode}\n{done.stdout}", file=sys.stderr)
        return None
    # Other lines are the run's own, such as the one that names its address.
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith(('{"what"', '{"note"'))]


def show(measured: dict[str, list[Figure]], notes: list[str], *, is_markdown: bool) -> None:
    """Print the table, what belongs below it, and what is over its budget."""
    rows = arrange(figure for figures in measured.values() for figure in figures)
    if not rows:
        return
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}"
    print(f"\nMeasured by make bench on {machine}.\n")
    print((show_markdown if is_markdown else show_table)(rows), end="\n\n")
    for note in notes:
        print(textwrap.fill(note, WIDTH))
    print(f"\n{show_over(rows)}")


def write_json(output: Path, measured: dict[str, list[Figure]], notes: list[str]) -> None:
    """Write what was measured, with the machine that it was measured on."""
    output.parent.mkdir(exist_ok=True)
    document = {
        "time_unix_s": time.time(),
        "machine": platform.platform(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "notes": notes,
        "figures": {name: [figure._asdict() for figure in figures] for name, figures in measured.items()},
    }
    output.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    place = output.relative_to(Path.cwd()) if output.is_relative_to(Path.cwd()) else output
    print(f"Written to {place}.", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
