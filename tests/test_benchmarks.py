"""The benchmarks start, and their table says what was measured; how fast anything is, no test says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.figures import Figure, arrange, show_markdown, show_over, show_table
from benchmarks.turns import Turns, running
from processes import poll

RUNNER = Path(__file__).with_name("benchmarks") / "run.py"
# Those that need neither a browser nor torch; log_calls needs torch, for its training between calls.
CHEAP = ("start", "memory", "delivery", "store")


@pytest.mark.live
def test_benchmarks_run_and_write_what_they_measured(tmp_path: Path) -> None:
    output = tmp_path / "bench.json"
    options = ["--quick=5000", "--no-peers", f"--output={output}"]
    done = subprocess.run(
        [sys.executable, str(RUNNER), *options, *CHEAP], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "import lossboard, median" in done.stdout
    figures = json.loads(output.read_text(encoding="utf-8"))["figures"]
    assert list(figures) == list(CHEAP)
    assert all(figures[name] for name in CHEAP if name != "memory" or sys.platform == "linux")


@pytest.mark.live
@pytest.mark.skipif(sys.platform != "linux", reason="what a process does is read from /proc")
def test_contender_stands_still_while_it_is_not_its_turn(tmp_path: Path) -> None:
    turns = Turns("floor", tmp_path / "floor", Path(sys.executable), os.environ)
    with running([turns]):
        for first in (0, 30):
            times = turns.take(first, 30, "")
            assert len(times) == 30
            assert min(times) > 0
            poll(lambda: read_state(turns.pid) == "T", "its stop", timeout_s=5)
    assert (tmp_path / "floor" / "floor").stat().st_size == 60 * 64


def read_state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]


def test_contender_that_ends_is_told_with_what_it_said(tmp_path: Path) -> None:
    turns = Turns("nobody", tmp_path / "nobody", Path(sys.executable), os.environ)
    with running([turns]), pytest.raises(RuntimeError, match=r"nobody ended: (.|\n)*KeyError: 'nobody'"):
        turns.take(0, 1, "")


MEASURED = [
    Figure("log, p50", 2.5, "µs", 2.0),
    Figure("log, p50", 1.5, "µs", whose="floor"),
    Figure("log, p50", 90.0, "µs", 2.0, "trackio"),
    Figure("import", 1234.5, "ms", 3000.0),
    Figure("import", 0.0, "threads", 0.0),
    Figure("watch adds", 12.0, "µs"),
    Figure("watch adds", 300.0, "µs"),
]


def test_floor_and_peers_stand_beside_ours() -> None:
    assert show_markdown(arrange(MEASURED)).splitlines() == [
        "| what | unit | lossboard | floor | trackio | budget |",
        "|---|---|---:|---:|---:|---:|",
        "| log, p50 | µs | 2.5 | 1.5 | 90 | 2 |",
        "| import | ms | 1,234 |  |  | 3000 |",
        "| import | threads | 0 |  |  | 0 |",
        "| watch adds | µs | 12 |  |  |  |",
        "| watch adds | µs | 300 |  |  |  |",
    ]


def test_columns_of_the_table_stand_under_each_other() -> None:
    head, *lines = show_table(arrange(MEASURED)).splitlines()
    assert head.split() == ["what", "unit", "lossboard", "floor", "trackio", "budget"]
    ends = [line.index(value) + len(value) for line, value in zip(lines, ("2.5", "1,234"), strict=False)]
    assert ends == [head.index("lossboard") + len("lossboard")] * 2


def test_what_is_to_be_reached_is_over_its_budget_below_it() -> None:
    ours = Figure("rate", 150_000.0, "/s", 200_000.0, is_least=True)
    rates = [ours, Figure("rate", 1.0, "/s", whose="peer")]
    assert show_over(arrange(rates)) == "Over budget:\n  rate: 150,000 /s, budget ≥ 200000 /s"
    assert show_over(arrange([ours._replace(value=200_000.0)])) == "Nothing is over its budget."


def test_only_what_we_take_too_much_of_is_over_its_budget() -> None:
    assert show_over(arrange(MEASURED)) == "Over budget:\n  log, p50: 2.5 µs, budget 2 µs"
    assert show_over(arrange(MEASURED[3:])) == "Nothing is over its budget."
