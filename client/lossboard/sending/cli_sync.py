"""The command `lossboard sync`: options, progress, summary and exit code; it needs nothing but Python."""

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TextIO

from lossboard.sending.answers import Refused
from lossboard.sending.discovery import find_service
from lossboard.sending.syncing import WRONG_TOKEN, Order, Outcome, Sync, count_pending, find_folders
from lossboard.sending.transport import Transport, Unproven, Unreachable
from lossboard.settings import Settings, read_settings

_HEEDED: Final = ("LOSSBOARD_URL", "LOSSBOARD_TOKEN", "LOSSBOARD_DIR", "XDG_STATE_HOME")
LINE_S: Final = 0.2  # between two looks of the line on a terminal
LOG_LINE_S: Final = 10.0  # between two lines in a log
SHOWN: Final = 20  # folders named one by one

_ABOUT: Final = """\
Send what trainings left in their journals to the service: after a crash, after a time without a service, or
from compute nodes without a network. There train with LOSSBOARD_MODE=offline, copy the state folder (normally
~/.local/state/lossboard) to where the service can be reached, and name the copy here.

Without DIR this machine's own state folder is taken: what dead trainings left there for this service is sent
and then removed, as the next training would do. With DIR everything below it is sent to the service that is
named, whoever wrote it; a copy is kept unless --remove is given, and only marked, so that a second sync sends
what is new. Nothing is ever stored twice, and a training that still runs is left alone.
"""
_CODES: Final = (
    "Exit code: 0 all is sent, or there is nothing to send; 1 something is not sent; 2 asked wrongly."
)


class NoService(Exception):
    """Nobody to send to; the message says what to do."""


def main(words: list[str]) -> int:
    """Run `lossboard sync` and return its exit code."""
    options = _make_parser().parse_args(words)
    try:
        given = {"url": options.url, "token": _read_token(options.token_file)}
        settings = read_settings(given, {name: os.environ[name] for name in _HEEDED if name in os.environ})
        order, place = _read_order(options, settings)
        folders = find_folders(place)
    except (ValueError, TypeError, OSError) as error:
        return _fail(error, 2)
    if not folders:
        if options.dir is not None:
            return _fail(f"no journal in {place}; name a state folder, a journal or one writer's folder", 2)
        return _say(f"nothing to send in {place}", options.quiet)
    return _sync(folders, order, settings, options.quiet)


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lossboard sync",
        description=_ABOUT,
        epilog=_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "dir",
        nargs="?",
        metavar="DIR",
        help="a state folder, a journal, one writer's folder, or a folder of copies of such "
        "(default: $LOSSBOARD_DIR, else ~/.local/state/lossboard)",
    )
    parser.add_argument("--url", help="the service's address (default: $LOSSBOARD_URL, else the newest here)")
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        help="a file with the service's token, - for standard input; no option takes the token itself, since "
        "other users see command lines (default: $LOSSBOARD_TOKEN, else as the service here tells it)",
    )
    parser.add_argument("--remove", action="store_true", help="remove from DIR what was sent")
    parser.add_argument(
        "--again", action="store_true", help="send everything that is there once more, to another service say"
    )
    parser.add_argument("--quiet", action="store_true", help="say only what went wrong")
    return parser


def _read_token(path: str | None) -> str | None:
    """Raises: ValueError where the file can't be read or holds no text."""
    if path is None:
        return None
    try:
        return (sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")).strip()
    except (OSError, ValueError) as error:
        raise ValueError(f"can't read the token from {path}: {error}; `lossboard token` prints it") from None


def _read_order(options: argparse.Namespace, settings: Settings) -> tuple[Order, Path]:
    """Raises: ValueError where there is no such folder."""
    place = settings.dir if options.dir is None else Path(options.dir).expanduser().absolute()
    if options.dir is not None and not place.is_dir():
        raise ValueError(f"there is no folder {place}")
    own = (settings.dir / "journal").resolve()
    found = place.resolve()
    is_own = found == own.parent or found == own or found.parent == own
    order = Order(
        url=settings.url,
        is_named=options.dir is not None,
        is_copy=not is_own,
        remove=is_own or options.remove,
        again=options.again,
    )
    return order, place / "journal" if found == own.parent else place


def _sync(folders: list[Path], order: Order, settings: Settings, is_quiet: bool) -> int:
    total = sum(count_pending(folder, again=order.again) for folder in folders)
    progress = Progress(total, sys.stderr, is_quiet=is_quiet)
    sync = Sync(order, lambda: _connect(settings), progress.tell)
    trouble = ""
    code = 0
    try:
        sync.send(folders)
    except KeyboardInterrupt:
        trouble, code = "stopped; the same command goes on where this one ended", 130
    except (NoService, Unproven) as error:
        trouble, code = str(error), 1
    except Unreachable as error:
        where = f" at {settings.url}" if settings.url else ""
        trouble = (
            f"the service{where} can't be reached: {error}. The same command goes on where this one ended"
        )
        code = 1
    except Refused as error:
        hint = (
            "`lossboard token` prints it where the service runs; give it as $LOSSBOARD_TOKEN or --token-file"
        )
        trouble, code = (f"{error}. {hint}" if error.answer.status in WRONG_TOKEN else str(error)), 1
    return _summarise(sync.outcome, order, progress.end(), trouble, code, is_quiet)


def _connect(settings: Settings) -> Transport:
    service = find_service(settings.dir, settings.url, settings.token)
    if service is None:
        raise NoService(
            "no service is running here. Start one (lossboard serve), or name one: --url or $LOSSBOARD_URL"
        )
    return Transport(*service)


class Progress:
    """Says how far a sync is: a line that changes on a terminal, a line now and then in a log."""

    def __init__(
        self, total: int, stream: TextIO, *, is_quiet: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._started = clock()
        self._total = total
        self._stream = stream
        self._is_quiet = is_quiet
        self._is_terminal = stream.isatty()
        self._every_s = LINE_S if self._is_terminal else LOG_LINE_S
        self._next = self._started + self._every_s
        self._width = 0

    def tell(self, done: int) -> None:
        """Note that so many records are done, and say it when it is time."""
        now = self._clock()
        if self._is_quiet or now < self._next:
            return
        self._next = now + self._every_s
        rate = done / max(now - self._started, 1e-9)
        total = max(self._total, done)
        left_s = (total - done) / rate if rate else 0.0
        line = f"{done:,} of {total:,} records, {rate:,.0f}/s, {_duration(left_s)} left"
        if self._is_terminal:
            self._stream.write("\r" + line.ljust(self._width))
            self._width = len(line)
        else:
            self._stream.write(line + "\n")
        self._stream.flush()

    def end(self) -> float:
        """Clear the line; return how many seconds it took."""
        if self._width:
            self._stream.write("\r" + " " * self._width + "\r")
            self._stream.flush()
        return self._clock() - self._started


def _summarise(outcome: Outcome, order: Order, took_s: float, trouble: str, code: int, is_quiet: bool) -> int:
    if outcome.writers or outcome.records:
        runs = f" of {_count(len(outcome.runs), 'run')}" if outcome.runs else ""
        _say(f"sent {_count(outcome.records, 'record')}{runs} in {_duration(took_s)}", is_quiet)
    elif outcome.sent_before and not trouble:
        _say("nothing new: what is there was sent before (--again sends it once more)", is_quiet)
    elif not (trouble or outcome.failed or outcome.left or outcome.alive):
        _say("nothing to send", is_quiet)
    for reason, count in sorted(outcome.lost.items()):
        _fail(f"{_count(count, 'record')} missing ({reason})", 1)
    _list("left alone", outcome.left + outcome.alive, is_quiet=is_quiet and not order.is_named)
    _list("not sent", outcome.failed, is_quiet=False)
    if trouble:
        _fail(trouble, 1)
    # Where nobody named it, a running training in our own folder is as it should be.
    has_left = order.is_named and bool(outcome.left or outcome.alive)
    return code or int(bool(outcome.failed) or has_left)


def _list(what: str, folders: list[tuple[Path, str]], *, is_quiet: bool) -> None:
    if is_quiet:
        return
    for folder, reason in folders[:SHOWN]:
        _fail(f"{what}: {folder}: {reason}", 1)
    if len(folders) > SHOWN:
        _fail(f"{what}: {len(folders) - SHOWN} more folders", 1)


def _say(line: str, is_quiet: bool) -> int:
    if not is_quiet:
        print(f"lossboard: {line}")
    return 0


def _fail(what: object, code: int) -> int:
    print(f"lossboard: {what}", file=sys.stderr)
    return code


def _count(number: int, word: str) -> str:
    return f"1 {word}" if number == 1 else f"{number:,} {word}s"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.0f} h"
