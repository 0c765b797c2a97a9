"""`lossboard archive`, `restore` and `delete`: putting runs away, taking them back, and for good."""

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

from lossboard import wire
from lossboard_server.commands.progress import make_bar, tell_bytes
from lossboard_server.commands.reach import add_reach_options, reach_service
from lossboard_server.remote import Remote, RemoteError, ask

LOOK_INTERVAL_S: Final = 0.2


def archive(arguments: Sequence[str]) -> int:
    """Archive runs: lists leave them out, nothing is deleted.

    Raises: remote.RemoteError.
    """
    return _each(arguments, "archive", "Leave runs out of lists; `restore` takes them back.", True)


def restore(arguments: Sequence[str]) -> int:
    """Take runs back out of the archive.

    Raises: remote.RemoteError.
    """
    return _each(arguments, "restore", "Take runs back out of the archive.", False)


def delete(arguments: Sequence[str]) -> int:
    """Delete archived runs for good, once their size was told and somebody said yes.

    Raises: remote.RemoteError; one run that can't be deleted keeps none of the others.
    """
    parser = _make_parser("delete", "Delete archived runs for good. The size is told first.")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    options = parser.parse_args(arguments)
    with reach_service(options) as remote:
        runs = [ask(remote, "GET", _address(run)) for run in options.run]
        for run in runs:
            stored = run["stored"]
            size = f"{stored['records']:,} records, about {tell_bytes(stored['bytes'])}"
            print(f"{run['run']} ({printable(run['name'])}, {run['state']}): {size}")
        loose = [run["run"] for run in runs if run["archived_unix_s"] is None]
        if loose:
            raise RemoteError(f"Only archived runs are deleted. First: lossboard archive {' '.join(loose)}")
        if not options.yes and not _is_meant(len(runs)):
            return 1
        refused = [message for message in (_delete(remote, run["run"]) for run in runs) if message]
        _follow(remote, {run["run"] for run in runs}, sum(run["stored"]["records"] for run in runs))
    for message in refused:
        print(f"lossboard: {message}", file=sys.stderr)
    print(f"Deleted {len(runs) - len(refused)} of {len(runs)}")
    return 1 if refused else 0


def printable(text: str) -> str:
    """Return a run's name as a terminal may show it: control characters would steer it."""
    return "".join(character if character.isprintable() else "?" for character in text)[:40]


def _each(arguments: Sequence[str], name: str, description: str, is_archived: bool) -> int:
    options = _make_parser(name, description).parse_args(arguments)
    body = b'{"archived": true}' if is_archived else b'{"archived": false}'
    with reach_service(options) as remote:
        for run in options.run:
            told: dict[str, Any] = ask(remote, "PATCH", _address(run), body)
            print(f"{'Archived' if is_archived else 'Restored'} {told['run']} ({printable(told['name'])})")
    return 0


def _is_meant(count: int) -> bool:
    if not sys.stdin.isatty():
        raise RemoteError("Nothing was deleted: nobody is there to be asked. --yes says that it is meant.")
    runs = "this run" if count == 1 else f"these {count} runs"
    answer = input(f"Delete {runs} for good? It can't be undone. [y/N] ")
    return answer.strip().lower() in ("y", "yes")


def _delete(remote: Remote, run: str) -> str | None:
    try:
        ask(remote, "DELETE", _address(run))
    except RemoteError as error:
        return str(error)
    return None


def _follow(remote: Remote, runs: set[str], records: int) -> None:
    """Watch the rows go. Whoever stops watching stops nothing: they go in the background."""
    with make_bar("deleting", records) as bar:
        while True:
            going = ask(remote, "GET", f"{wire.API_PREFIX}/keeping")["deleting"]
            left = [each["records"] for each in going if each["run"] in runs]
            bar.update(max(0, records - sum(left) - bar.n))
            if not left:
                return
            time.sleep(LOOK_INTERVAL_S)


def _address(run: str) -> str:
    try:
        return f"{wire.API_PREFIX}/runs/{wire.check_run_id(run)}"
    except wire.RecordError as error:
        raise RemoteError(f"{error}. `lossboard runs` lists the runs.") from None


def _make_parser(name: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"lossboard {name}", description=description)
    parser.add_argument("run", nargs="+", metavar="RUN", help="a run's id; `lossboard runs` lists them")
    add_reach_options(parser)
    return parser
