"""`lossboard import`: files of records into runs, exactly once, however often it is tried."""

import argparse
import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from lossboard_server.commands.import_plan import check_file, send
from lossboard_server.commands.reach import add_reach_options, reach_service
from lossboard_server.commands.record_files import FORMATS
from lossboard_server.remote import BusyError, Remote, ask

REQUEST_TIMEOUT_S: Final = 60.0
BUSY_TIMEOUT_S: Final = 60.0  # how long a full queue of the service is waited for


def main(arguments: Sequence[str]) -> int:
    """Import files, each checked whole before anything of it is stored.

    Raises: remote.RemoteError for a file that can't be read, without a service or database, or
    when it refuses.
    """
    parser = _make_parser()
    options = parser.parse_args(arguments)
    if options.as_run is not None and len(options.file) > 1:
        parser.error("--as takes one file")
    plans = [check_file(Path(name), options.format, options.as_run) for name in options.file]
    with reach_service(options, makes_database=True) as remote:
        for plan in plans:
            if send(partial(_ask, remote), plan):
                print(f"Imported {plan.path} into {plan.run} ({plan.records:,} records)")
            else:
                print(f"{plan.path}: all of its {plan.records:,} records are in {plan.run} already")
    return 0


def _ask(remote: Remote, path: str, body: dict[str, Any]) -> Any:
    """Post a body; while the service asks to wait, wait."""
    content = json.dumps(body).encode()
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            return ask(remote, "POST", path, content, REQUEST_TIMEOUT_S)
        except BusyError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lossboard import",
        description="Bring runs back from files of `lossboard export`, or records from elsewhere: CSV, JSON "
        "Lines or Parquet with the columns epoch, batch, loss, batch_size and, if you have them, series, "
        "split, reduction, weight, step, time and others. Tried again, it goes on where it broke off.",
    )
    parser.add_argument("file", nargs="+", metavar="FILE", help="what to import")
    parser.add_argument("--as", dest="as_run", metavar="ID", help="the run's new id; default the file's own")
    parser.add_argument("--format", choices=FORMATS, help="default by the file's name")
    add_reach_options(parser)
    return parser
