"""The command line: what is typed after `lossboard`. The client's `lossboard.cli` calls it by name."""

import argparse
import os
import sys
import time
import webbrowser
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final, NoReturn
from urllib.parse import quote

from lossboard_server import __version__
from lossboard_server.commands.reach import add_reach_options, reach_service
from lossboard_server.desktop import has_desktop
from lossboard_server.ports import PortError
from lossboard_server.remote import RemoteError, ask, find_service
from lossboard_server.services import keep_token, token_path
from lossboard_server.settings import SettingError, Settings, add_options, state_folder

RUNS_SHOWN: Final = 50
RETENTION_SHOWN: Final = 5

# Commands with a parser of their own, in modules that need an extra, or are the client's.
DELEGATED: Final = {
    "demo": ("lossboard_server.demo.command", "train two small models and watch them on the page"),
    "doctor": ("lossboard_server.commands.doctor", "check the database, or make its summaries anew"),
    "export": ("lossboard_server.commands.exporting", "write runs to files"),
    "import": ("lossboard_server.commands.importing", "bring runs back, or records from elsewhere"),
    "archive": ("lossboard_server.commands.keeping:archive", "leave runs out of lists"),
    "restore": ("lossboard_server.commands.keeping:restore", "take runs back out of the archive"),
    "delete": ("lossboard_server.commands.keeping:delete", "delete archived runs for good"),
    "backup": ("lossboard_server.commands.backup", "copy the database while the service runs"),
    "sync": ("lossboard.sending.cli_sync", "send what trainings left in their journals"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 failed, 2 asked wrongly, 3 a damaged database.

    Raises: ModuleNotFoundError where the command needs an extra that is not installed.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(words)
    except (PortError, SettingError) as error:
        return _fail(error, 2)
    except RemoteError as error:
        return _fail(error, 1)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `lossboard runs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run(words: list[str]) -> int:
    if words and words[0] in DELEGATED and _is_here(words[0]):
        module, _, name = DELEGATED[words[0]][0].partition(":")
        delegate: Callable[[list[str]], int] = getattr(import_module(module), name or "main")
        return delegate(words[1:])
    parser = _make_parser()
    options = parser.parse_args(words)
    if options.command is None:
        parser.print_help()
        return 2
    command: Callable[[argparse.Namespace], int | None] = options.do
    return command(options) or 0


def _make_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="lossboard", description="Watch a training loss live, and know what the number means."
    )
    parser.add_argument("--version", action="version", version=f"lossboard {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    serve = commands.add_parser("serve", help="start the service")
    add_options(serve)
    serve.set_defaults(do=_serve)

    show = commands.add_parser("open", help="open the page of the running service in a browser")
    show.add_argument("run", nargs="?", metavar="RUN", help="show this run")
    add_options(show, "port", "dir", "no_browser")
    show.set_defaults(do=_open)

    runs = commands.add_parser("runs", help=f"list the newest {RUNS_SHOWN} runs")
    runs.add_argument("search", nargs="?", default="", metavar="WORD", help="only those that match")
    runs.add_argument("--archived", action="store_true", help="those in the archive instead")
    add_reach_options(runs)
    runs.set_defaults(do=_runs)

    token = commands.add_parser("token", help="print the token, for `Authorization: Bearer TOKEN`")
    token.add_argument("--path", action="store_true", help="print where the token is kept instead")
    add_options(token, "dir")
    token.set_defaults(do=_token)

    for name, (_, text) in DELEGATED.items():
        if _is_here(name):
            commands.add_parser(name, help=text, add_help=False)
    return parser


class _Parser(argparse.ArgumentParser):
    """A parser whose complaint says where the commands and their options are listed."""

    def error(self, message: str) -> NoReturn:
        where = "lossboard --help lists the commands, lossboard COMMAND --help their options."
        self.exit(2, f"{self.prog}: {message}\n{where}\n")


def _serve(options: argparse.Namespace) -> int:
    settings = Settings.resolve(vars(options), os.environ)
    from lossboard_server.serving import StartError, serve  # needs the extra `server`

    try:
        serve(settings, partial(print, flush=True))
    except StartError as error:
        return _fail(error, error.exit_code)
    return 0


def _open(options: argparse.Namespace) -> None:
    folder = state_folder(options.dir, os.environ)
    remote = find_service(folder, os.environ, _port(options))
    path = f"/?run={quote(options.run, safe='')}" if options.run else "/"
    link = str(ask(remote, "POST", f"/login-links?next={quote(path, safe='')}")["url"])
    if options.no_browser is None and has_desktop(os.environ) and webbrowser.open(link):
        print(f"Opened {remote.url}")
    else:
        print(f"Open this in a browser; it works once: {link}")


def _runs(options: argparse.Namespace) -> None:
    archived = "&archived=only" if options.archived else ""
    query = f"limit={RUNS_SHOWN}&search={quote(options.search, safe='')}{archived}"
    with reach_service(options) as remote:
        found = ask(remote, "GET", f"/api/v1/runs?{query}")
        retention = ask(remote, "GET", "/api/v1/keeping")["retention"]
    rows: list[tuple[str, ...]] = [
        ("RUN", "NAME", "STATE", "BATCH SIZE", "EPOCH", "PER ITEM", "RECORDS", "LAST RECORD")
    ]
    rows += [_describe(run) for run in found["runs"]]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    if found["total"] > len(found["runs"]):
        print(f"{found['total'] - len(found['runs'])} more; give a WORD to search for")
    for line in _tell_retention(retention):
        print(line)


def _tell_retention(retention: Mapping[str, Any]) -> Iterator[str]:
    """Yield what retention deletes next, where it is on."""
    limits = [
        f"{name.replace('_', ' ')} {retention[name]:g}"
        for name in ("keep_days", "keep_gb")
        if retention[name]
    ]
    if not limits:
        return
    planned = retention["planned"] or "no"
    yield f"\nRetention is on ({', '.join(limits)}); {planned} runs are to go, the next ones:"
    for run in retention["next"][:RETENTION_SHOWN]:
        hours = max(0.0, run["due_unix_s"] - time.time()) / 3600
        when = "now" if not hours else f"in {hours:.0f} h" if hours < 48 else f"in {hours / 24:.0f} days"
        yield f"  {run['run']} ({_printable(run['name'])}) is deleted {when}: {run['reason']}"


def _describe(run: Mapping[str, Any]) -> tuple[str, ...]:
    per_item = run["per_item"]
    age_s = run["last_record_age_s"]
    return (
        run["run"],
        _printable(run["name"]),
        run["state"],
        _or_dash(run["batch_size"]),
        _or_dash(run["epoch"]),
        f"{per_item:.6g}" if isinstance(per_item, float | int) else _or_dash(per_item),
        str(run["records"]),
        "–" if age_s is None else f"{age_s:.0f} s ago",
    )


def _token(options: argparse.Namespace) -> None:
    folder = state_folder(options.dir, os.environ)
    settings = Settings.resolve({"dir": options.dir}, os.environ)
    print(token_path(folder) if options.path else settings.token or keep_token(folder))


def _port(options: argparse.Namespace) -> int | None:
    return Settings.resolve({"port": options.port}, {}).port if options.port is not None else None


def _is_here(command: str) -> bool:
    return find_spec(DELEGATED[command][0].partition(":")[0]) is not None


def _or_dash(value: object) -> str:
    return "–" if value is None else str(value)


def _printable(text: str) -> str:
    # A run's name comes over the network; control characters would steer the terminal.
    return "".join(character if character.isprintable() else "?" for character in text)[:40]


def _fail(error: Exception, code: int) -> int:
    print(f"lossboard: {error}", file=sys.stderr)
    return code
