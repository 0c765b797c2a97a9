"""A file on its way into a run: checked from its first to its last row, then sent, exactly once."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from lossboard import wire
from lossboard_server.commands.progress import make_bar
from lossboard_server.commands.record_files import (
    WrongFile,
    check_rows,
    find_format,
    open_binary,
    read_about,
    read_rows,
)
from lossboard_server.remote import RemoteError

RECORDS_A_REQUEST: Final = 5_000

Post = Callable[[str, dict[str, Any]], Any]
"""Posts a body to a path of the service and returns its answer; RemoteError where it refuses."""


@dataclass(slots=True)
class Plan:
    """One file, checked from its first to its last row, and what it is imported as."""

    path: Path
    file_format: str
    run: str
    body: dict[str, Any]
    meanings: dict[str, str]
    """The reduction of each series that is known beforehand."""

    @property
    def records(self) -> int:
        """How many records the file holds."""
        return int(self.body["records"])


def check_file(path: Path, named_format: str | None, as_run: str | None) -> Plan:
    """Read a file once: every row is legal, or nothing of it is imported.

    Raises: WrongFile.
    """
    file_format = find_format(path, named_format)
    digest = _hash(path)
    about = read_about(path, file_format)
    run = _choose_run(path, as_run, about)
    meanings = _read_meanings(about)
    count, rank, newest = 0, None, max(_read_starts(about), default=0.0)
    total = None if about is None else about.get("records")
    with make_bar(f"checking {path.name}", total if isinstance(total, int) else None) as bar:
        for record in check_rows(_read(path, file_format, meanings), path):
            count += 1
            rank = record.rank if rank is None else rank
            newest = max(newest, record.attempt)
            bar.update()
    if about is not None and isinstance(total, int) and total > count:
        raise WrongFile(
            f"{path} holds {count:,} of the run's {total:,} records; it was cut off, or is not the file that "
            "was exported. Nothing was imported. Without the file beside it, it is taken as it is."
        )
    if about is None and not count:
        raise WrongFile(f"{path} holds no records.")
    seed = f"{digest} {run} {json.dumps(about, sort_keys=True)}"
    body = {
        "writer": "import-" + hashlib.sha256(seed.encode()).hexdigest()[:40],
        "records": count,
        "attempt": newest,
        "rank": rank or 0,
        "about": about,
    }
    return Plan(path, file_format, run, body, meanings)


def send(post: Post, plan: Plan, records_a_request: int = RECORDS_A_REQUEST) -> bool:
    """Send a checked file, from where an earlier try stopped; tell whether there was anything left to do.

    Raises: RemoteError, with how far it has come.
    """
    address = f"{wire.API_PREFIX}/runs/{plan.run}"
    stand = post(f"{address}/import", plan.body)
    if stand["is_finished"]:
        return False
    done = int(stand["next"])
    rows = islice(_payload(plan), done, None)
    head = {"writer": plan.body["writer"], "attempt": plan.body["attempt"], "rank": plan.body["rank"]}
    with make_bar(plan.run, plan.records, done=done) as bar:
        while records := list(islice(rows, records_a_request)):
            try:
                post(f"{address}/records", head | {"seq": done} | _pack(records, done))
            except RemoteError as error:
                raise RemoteError(
                    f"{error}\n{done:,} of {plan.records:,} records are in {plan.run}. Import the file "
                    "again: it goes on from there."
                ) from None
            done += len(records)
            bar.update(len(records))
    post(f"{address}/import", plan.body | {"done": True})
    return True


def _read(path: Path, file_format: str, meanings: dict[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the file's rows; what a series says already need not be said, and checked, of each record."""
    for place, row in read_rows(path, file_format):
        if isinstance(row, dict) and row.get("reduction") == meanings.get(str(row.get("series")), ""):
            del row["reduction"]
        yield place, row


def _pack(rows: list[dict[str, Any]], first: int) -> dict[str, Any]:
    """Return a request's records as columns, which cost the service a third of what rows do.

    Columns have one attempt and rank for all of them, and no reductions of their own; else rows go.
    """
    ranks = {(row.get("attempt", 0), row.get("rank", 0)) for row in rows}
    if len(ranks) > 1 or any("reduction" in row for row in rows):
        return {"records": rows}
    ((attempt, rank),) = ranks
    by_series: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    for index, row in enumerate(rows, start=first):
        by_series.setdefault(wire.series_name(row.get("series", "loss"), row.get("split")), []).append(
            (index, row)
        )
    series = {}
    for name, own in by_series.items():
        keys = sorted({key for _, row in own for key in row} & set(wire.COLUMN_KEYS))
        series[name] = {
            key: [row.get(key, 0 if key == "pass_no" else None) for _, row in own] for key in keys
        }
        series[name]["index"] = [index for index, _ in own]
    return {"attempt": attempt, "rank": rank, "series": series}


def _payload(plan: Plan) -> Iterator[dict[str, Any]]:
    for _, row in _read(plan.path, plan.file_format, plan.meanings):
        if type(row["loss"]) is float:
            row["loss"] = wire.encode_number(row["loss"])
        yield row


def _hash(path: Path) -> str:
    with open_binary(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _choose_run(path: Path, as_run: str | None, about: dict[str, Any] | None) -> str:
    run = as_run or (about or {}).get("run") or path.stem
    try:
        return wire.check_run_id(run)
    except wire.RecordError as error:
        raise WrongFile(
            f"{str(run)[:80]!r} can't be a run's id: it {error.message}. --as gives one."
        ) from None


def _read_meanings(about: dict[str, Any] | None) -> dict[str, str]:
    series = (about or {}).get("series")
    told = series.items() if isinstance(series, dict) else ()
    return {
        name: str(each["reduction"]) for name, each in told if isinstance(each, dict) and "reduction" in each
    }


def _read_starts(about: dict[str, Any] | None) -> list[float]:
    """Return when attempts start, as far as a file says so; the service judges the rest of it."""
    found = (about or {}).get("attempts")
    starts = (
        [each.get("started_unix_s") for each in found if isinstance(each, dict)]
        if isinstance(found, list)
        else []
    )
    return [float(start) for start in starts if isinstance(start, int | float)]
