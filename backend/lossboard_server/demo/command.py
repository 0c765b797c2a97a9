"""The command `lossboard demo`: options, what it says, and the order of events."""

import argparse
import importlib.util
import os
import signal
import sys
import time
import urllib.parse
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from lossboard_server.demo.stage import POLL_INTERVAL_S, START_TIMEOUT_S, Service, Stage, StageError
from lossboard_server.desktop import has_desktop

BATCH_SIZES: Final = (10, 20)
PIP_COMMAND: Final = 'pip install "lossboard[demo]"'
TRAINING: Final = str(Path(__file__).with_name("training.py"))
NEEDED: Final = {"torch": "PyTorch", "sklearn": "scikit-learn"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo until Ctrl-C, or with --once until both trainings have ended.

    Returns: 0 after Ctrl-C or when all went well, 1 when something failed, 2 when a package is missing.
    """
    options = make_parser().parse_args(arguments)
    missing = [label for module, label in NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        print(f"lossboard demo trains with {' and '.join(missing)}, not installed here.", file=sys.stderr)
        print(f'Install with: {PIP_COMMAND}    (from a clone: pip install ".[demo]")', file=sys.stderr)
        return 2
    # A closed terminal or a `kill` ends the children just as Ctrl-C does.
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.default_int_handler)
    with Stage() as stage:
        try:
            return play(stage, options)
        except KeyboardInterrupt:
            print("\nDemo ended.")
            return 0
        except (StageError, OSError) as error:
            print(f"lossboard demo: {error}", file=sys.stderr)
            return 1


def make_parser() -> argparse.ArgumentParser:
    """Say which options `lossboard demo` takes."""
    parser = argparse.ArgumentParser(
        prog="lossboard demo",
        description="Train two small classifiers at batch sizes 10 and 20 and watch them on the page.",
    )
    parser.add_argument("--epochs", type=_positive, default=120, help="epochs of each training (default 120)")
    parser.add_argument("--once", action="store_true", help="end with the trainings instead of at Ctrl-C")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    return parser


def play(stage: Stage, options: argparse.Namespace) -> int:
    """Start service and trainings, show the page's address, wait for the end."""
    print("Starting the service and two trainings …", flush=True)
    service = Service(stage)
    runs = [f"digits-batch-{size}" for size in BATCH_SIZES]
    for run, size in zip(runs, BATCH_SIZES, strict=True):
        arguments = [TRAINING, "--batch-size", str(size), "--epochs", str(options.epochs)]
        stage.start(run, arguments, {"LOSSBOARD_RUN_ID": run, "LOSSBOARD_PROJECT": "demo"})
    _wait_for_runs(stage, service, runs)
    show_address(service, runs, no_browser=options.no_browser)
    succeeded = _wait_for_trainings(stage, runs)
    if not options.once:
        print("\nThe page stays until Ctrl-C.", flush=True)
        while stage.exit_code("service") is None:
            time.sleep(POLL_INTERVAL_S)
        raise StageError(f"the service ended; it printed:\n{stage.tail('service')}")
    if succeeded:
        _wait_for_ends(service, runs)
    return 0 if succeeded else 1


def show_address(service: Service, runs: Sequence[str], *, no_browser: bool) -> None:
    """Print a one-time address that opens on the runs, and open it where there is a desktop."""
    page = "/?" + urllib.parse.urlencode([("run", run) for run in runs])
    address = service.login_link(page)
    print(f"\n  {address}\n\n(good for one browser; its data goes when the demo ends)\n", flush=True)
    if not no_browser and has_desktop(os.environ):
        webbrowser.open(address)


def _wait_for_runs(stage: Stage, service: Service, runs: Sequence[str]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        for run in runs:
            if stage.exit_code(run):
                raise StageError(f"the training {run} failed; it printed:\n{stage.tail(run)}")
        known = {run["run"] for run in service.get("/api/v1/runs")["runs"] if run["records"]}
        if known.issuperset(runs):
            return
        time.sleep(POLL_INTERVAL_S)
    raise StageError(f"no record came within {START_TIMEOUT_S:.0f} s")


def _wait_for_trainings(stage: Stage, runs: Sequence[str]) -> bool:
    """Print each training's last line as it ends; tell whether all ended well."""
    open_runs, succeeded = list(runs), True
    while open_runs:
        for run in list(open_runs):
            code = stage.exit_code(run)
            if code is None:
                continue
            open_runs.remove(run)
            succeeded = succeeded and code == 0
            shown = stage.tail(run, 1) if code == 0 else f"failed; it printed:\n{stage.tail(run)}"
            print(f"{run}   {shown}", flush=True)
        time.sleep(POLL_INTERVAL_S)
    if succeeded:
        print("Which of the two learnt better? Raw sum cannot tell; Per item, on the page, can.", flush=True)
    return succeeded


def _wait_for_ends(service: Service, runs: Sequence[str]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        states: dict[str, Any] = {run["run"]: run["state"] for run in service.get("/api/v1/runs")["runs"]}
        if all(states.get(run) == "finished" for run in runs):
            return
        time.sleep(POLL_INTERVAL_S)
    raise StageError("the trainings ended but their last records did not come")


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not {text!r}")
    return int(text)
