"""`lossboard export`: whole runs into files, each complete or not there."""

import argparse
import http.client
import json
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final

from lossboard import wire
from lossboard_server.commands.progress import make_bar
from lossboard_server.commands.reach import add_reach_options, reach_service
from lossboard_server.commands.record_files import about_path
from lossboard_server.ports import direct
from lossboard_server.remote import Remote, RemoteError, ask, read_refusal

FORMATS: Final = ("csv", "jsonl", "parquet", "html")
TIMEOUT_S: Final = 60.0
PIECE_BYTES: Final = 1 << 16
RUNS_A_PAGE: Final = 500


def main(arguments: Sequence[str]) -> int:
    """Write runs to files; a file that is there is replaced when all of the new one has come.

    Raises: remote.RemoteError without a service or database, or when it refuses.
    """
    parser = _make_parser()
    options = parser.parse_args(arguments)
    if (options.run is None) == (options.all is None):
        parser.error("name either one RUN or, with --all FOLDER, a folder for all of them")
    if options.run is not None:
        try:
            wire.check_run_id(options.run)
        except wire.RecordError as error:
            print(f"lossboard: {error}. `lossboard runs` lists the runs.", file=sys.stderr)
            return 2
    with reach_service(options) as remote:
        if options.all is not None:
            return _export_all(remote, Path(options.all), options.format)
        target = options.output or f"{options.run}.{options.format}"
        if target == "-":
            with _open_export(remote, options.run, options.format, header=False) as answer:
                shutil.copyfileobj(answer, sys.stdout.buffer)
            return 0
        print(_export(remote, options.run, options.format, Path(target)))
    return 0


def _export_all(remote: Remote, folder: Path, file_format: str) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RemoteError(f"Can't make {folder}: {error.strerror}.") from None
    runs = list(_list_runs(remote))
    for number, run in enumerate(runs, start=1):
        print(
            f"{number} of {len(runs)}: {_export(remote, run, file_format, folder / f'{run}.{file_format}')}"
        )
    return 0


def _list_runs(remote: Remote) -> Iterator[str]:
    """Yield the ids of all runs, archived ones too, oldest first: new ones come behind."""
    offset = 0
    while True:
        query = f"archived=with&order=oldest&limit={RUNS_A_PAGE}&offset={offset}"
        page = ask(remote, "GET", f"{wire.API_PREFIX}/runs?{query}")["runs"]
        yield from (run["run"] for run in page)
        offset += len(page)
        if len(page) < RUNS_A_PAGE:
            return


def _export(remote: Remote, run: str, file_format: str, target: Path) -> str:
    """Write one run; return what to tell of it."""
    has_header = file_format != "html"
    with _open_export(remote, run, file_format, header=has_header) as answer:
        try:
            about = json.loads(answer.readline())["run"] if has_header else None
            size = _write_file(answer, target, run, None if about is None else about["records"], file_format)
            wrote = f"Wrote {target} ({size:,} bytes)"
            if about is not None and file_format != "parquet":
                beside = about_path(target)
                _replace(beside, json.dumps(about, indent=1, ensure_ascii=False).encode() + b"\n")
                wrote += f" and {beside.name}, which says what the run is"
        except (ValueError, KeyError, TypeError):
            raise RemoteError(f"{remote.url} broke off. Nothing was written.") from None
        except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
            raise RemoteError(f"{remote.url} broke off: {error!r}. Nothing was written.") from None
        except OSError as error:
            raise RemoteError(f"Can't write {target}: {error.strerror}. -o FILE names another.") from None
    return wrote


def _open_export(remote: Remote, run: str, file_format: str, *, header: bool) -> Any:
    headers = {"Authorization": f"Bearer {remote.token}"} if remote.token else {}
    query = f"format={file_format}" + ("&header=true" if header else "")
    request = urllib.request.Request(
        f"{remote.url}{wire.API_PREFIX}/runs/{run}/export?{query}", headers=headers
    )
    try:
        return direct.open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        with error:
            raise RemoteError(read_refusal(error)) from None
    except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
        raise RemoteError(f"{remote.url} does not answer: {error!r}. Nothing was written.") from None


def _write_file(answer: IO[bytes], target: Path, run: str, records: int | None, file_format: str) -> int:
    counts_lines = file_format in ("csv", "jsonl")
    part = target.with_name(f"{target.name}.part")
    unit = "records" if counts_lines else "bytes"
    try:
        with part.open("wb") as file, make_bar(run, records if counts_lines else None, unit) as bar:
            while piece := answer.read(PIECE_BYTES):
                file.write(piece)
                bar.update(piece.count(b"\n") if counts_lines else len(piece))
            size = file.tell()
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return size


def _replace(target: Path, content: bytes) -> None:
    part = target.with_name(f"{target.name}.part")
    try:
        part.write_bytes(content)
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lossboard export",
        description="Write runs to files, every record of them. `lossboard import` brings them back as they "
        "were: csv and jsonl with the file RUN.run.json beside them, parquet by itself.",
    )
    parser.add_argument("run", nargs="?", metavar="RUN", help="the run's id; `lossboard runs` lists them")
    parser.add_argument("--format", choices=FORMATS, default="csv", help="html is a page that stands alone")
    parser.add_argument("-o", "--output", metavar="FILE", help="default RUN.FORMAT; - is standard output")
    parser.add_argument("--all", metavar="FOLDER", help="write all runs into this folder, archived ones too")
    add_reach_options(parser)
    return parser
