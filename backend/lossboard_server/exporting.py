"""`lossboard export`: a run's records from the running service into a file."""

import argparse
import http.client
import os
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

from lossboard import wire
from lossboard_server.ports import direct
from lossboard_server.remote import RemoteError, find_service, read_refusal
from lossboard_server.settings import Settings, add_options, state_folder

FORMATS: Final = ("csv", "jsonl", "html")
TIMEOUT_S: Final = 60.0


def main(arguments: Sequence[str]) -> int:
    """Write one run to a file, `-` for standard output; a file that is there is replaced when all came.

    Raises: remote.RemoteError without a service, or when it refuses.
    """
    options = _make_parser().parse_args(arguments)
    try:
        wire.check_run_id(options.run)
    except wire.RecordError as error:
        print(f"lossboard: {error}. `lossboard runs` lists the runs.", file=sys.stderr)
        return 2
    port = Settings.resolve({"port": options.port}, {}).port if options.port is not None else None
    remote = find_service(state_folder(options.dir, os.environ), os.environ, port)
    headers = {"Authorization": f"Bearer {remote.token}"} if remote.token else {}
    url = f"{remote.url}{wire.API_PREFIX}/runs/{options.run}/export?format={options.format}"
    target = options.output or f"{options.run}.{options.format}"
    try:
        with direct.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S) as answer:
            if target == "-":
                shutil.copyfileobj(answer, sys.stdout.buffer)
                return 0
            size = _write_file(answer, Path(target))
    except urllib.error.HTTPError as error:
        with error:
            raise RemoteError(read_refusal(error)) from None
    except BrokenPipeError:
        raise
    except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
        raise RemoteError(f"{remote.url} broke off: {error}. Nothing was written.") from None
    except OSError as error:
        raise RemoteError(f"Can't write {target}: {error.strerror}. -o FILE names another.") from None
    print(f"Wrote {target} ({size:,} bytes)")
    return 0


def _write_file(answer: IO[bytes], target: Path) -> int:
    part = target.with_name(f"{target.name}.part")
    try:
        with part.open("wb") as file:
            shutil.copyfileobj(answer, file)
            size = file.tell()
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return size


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lossboard export", description="Write a run's records to a file.")
    parser.add_argument("run", metavar="RUN", help="the run's id; `lossboard runs` lists them")
    parser.add_argument("--format", choices=FORMATS, default="csv", help="html is a page that stands alone")
    parser.add_argument("-o", "--output", metavar="FILE", help="default RUN.FORMAT; - is standard output")
    add_options(parser, "port", "dir")
    return parser
