"""Files of records, read row by row: CSV, JSON Lines and Parquet, ours and those from elsewhere."""

import csv
import json
import math
import re
from collections.abc import Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any, Final

from lossboard import wire
from lossboard_server.remote import RemoteError

FORMATS: Final = ("csv", "jsonl", "parquet")
ABOUT_SUFFIX: Final = ".run.json"
"""What an export puts beside its records: RUN.csv has RUN.run.json."""

ROWS_A_READ: Final = 5_000
MAX_TOLD: Final = 5  # wrong rows that are told at once

_WHOLE: Final = frozenset({"epoch", "batch", "batch_size", "step", "rank", "pass_no", "call"})
_TEXT: Final = frozenset({"series", "split", "reduction"})
# pandas writes 32.0 where a column has gaps; a loss that is no number has many spellings.
_INTEGER: Final = re.compile(r"[+-]?[0-9]+(?:\.0*)?")
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_NONFINITE: Final = {
    "nan": "NaN", "inf": "Infinity", "+inf": "Infinity", "infinity": "Infinity", "+infinity": "Infinity",
    "-inf": "-Infinity", "-infinity": "-Infinity",
}  # fmt: skip


class WrongFile(RemoteError):
    """A file that can't be read as records; the message names the line and what to do."""


def find_format(path: Path, named: str | None) -> str:
    """Return the format that was named, else the one that the file's name tells.

    Raises: WrongFile where neither does.
    """
    found = named or path.suffix.lower().removeprefix(".")
    found = {"ndjson": "jsonl", "pq": "parquet"}.get(found, found)
    if found not in FORMATS:
        raise WrongFile(f"{path} does not tell its format. Give --format: {', '.join(FORMATS)}.")
    return found


def read_about(path: Path, file_format: str) -> dict[str, Any] | None:
    """Return what an export says of its run beside the records; None where there is nothing of that.

    It stands in RUN.run.json beside the file, in the first line of JSON Lines or in Parquet's schema.
    Raises: WrongFile, OSError.
    """
    if file_format == "parquet":
        text = (_open_parquet(path).schema_arrow.metadata or {}).get(b"lossboard")
        return None if text is None else _read_object(text, f"{path}, its metadata")
    beside = about_path(path)
    if beside.exists():
        return _read_object(beside.read_bytes(), str(beside))
    if file_format == "jsonl":
        with path.open("rb") as file:
            first = file.readline()
        if first.startswith(b'{"run":{'):
            about = _read_object(first, f"{path} line 1").get("run")
            return about if isinstance(about, dict) else None
    return None


def about_path(path: Path) -> Path:
    """Return where a file's sidecar stands."""
    return path.with_name(path.stem + ABOUT_SUFFIX)


def read_rows(path: Path, file_format: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each record's place in the file and what it says, as `lossboard.wire.read_row` takes it.

    Raises: WrongFile for what is no such file; OSError.
    """
    readers = {"csv": _read_csv, "jsonl": _read_jsonl, "parquet": _read_parquet}
    return readers[file_format](path)


def check_rows(rows: Iterator[tuple[str, dict[str, Any]]], path: Path) -> Iterator[wire.Record]:
    """Yield each row checked.

    Raises: WrongFile naming the first wrong rows, once they are many or the file ends.
    """
    wrong: list[str] = []
    for place, row in rows:
        try:
            record = wire.read_row(row)
        except wire.RecordError as error:
            wrong.append(f"{path} {place}: {error.field} {error.message}".replace(":  ", ": "))
            if len(wrong) == MAX_TOLD:
                break
        else:
            yield record
    if wrong:
        raise WrongFile("\n  ".join(wrong) + "\nNothing was imported.")


def _read_csv(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=_find_delimiter(path), strict=True)
        try:
            names = [name.strip() for name in next(reader, [])]
            _check_columns(path, names)
            for cells in reader:
                if not cells:
                    continue
                place = f"line {reader.line_num}"
                if len(cells) != len(names):
                    raise WrongFile(f"{path} {place} has {len(cells)} values under {len(names)} columns.")
                yield place, _read_cells(names, cells)
        except csv.Error as error:
            raise WrongFile(f"{path} line {reader.line_num} is not CSV: {error}.") from None
        except UnicodeDecodeError:
            raise _not_utf8(path) from None


def _find_delimiter(path: Path) -> str:
    """Return what stands between the columns: spreadsheets of some countries write semicolons."""
    with path.open("rb") as file:
        first = file.readline()
    return max(",;\t", key=lambda sign: first.count(sign.encode()))


def _read_cells(names: Sequence[str], cells: Sequence[str]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, cell in zip(names, cells, strict=True):
        if cell == "":
            if name in ("epoch", "batch_size"):
                row[name] = None
        elif name in _TEXT:
            row[name] = cell
        else:
            row[name] = _read_cell(name, cell.strip())
    return row


def _read_cell(name: str, cell: str) -> Any:
    if name in _WHOLE:
        return int(cell.partition(".")[0]) if _INTEGER.fullmatch(cell) else cell
    if _NUMBER.fullmatch(cell):
        return float(cell)
    return _NONFINITE.get(cell.lower(), cell)


def _read_jsonl(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip() or (number == 1 and line.startswith(b'{"run":{')):
                continue
            try:
                row = json.loads(line)
            except UnicodeDecodeError:
                raise _not_utf8(path) from None
            except ValueError as error:
                raise WrongFile(f"{path} line {number} is not JSON: {error}.") from None
            yield f"line {number}", row


def _read_parquet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    file = _open_parquet(path)
    names = file.schema_arrow.names
    _check_columns(path, names)
    number = 0
    for batch in file.iter_batches(batch_size=ROWS_A_READ):
        columns = [_as_plain(name, batch.column(at).to_pylist()) for at, name in enumerate(names)]
        for values in zip(*columns, strict=True):
            number += 1
            row = dict(zip(names, values, strict=True))
            kept = {key: value for key, value in row.items() if value is not None}
            if row.get("loss", 0) is None:
                kept["loss"] = math.nan  # pandas writes NaN as null
            yield f"row {number}", {"epoch": row.get("epoch"), "batch_size": row.get("batch_size")} | kept


def _as_plain(name: str, values: list[Any]) -> list[Any]:
    if name not in _WHOLE:
        return values
    return [int(value) if isinstance(value, float) and value.is_integer() else value for value in values]


def _open_parquet(path: Path) -> Any:
    from pyarrow import ArrowException, parquet  # needs the extra `parquet`

    try:
        return parquet.ParquetFile(path)
    except ArrowException as error:
        raise WrongFile(f"{path} is not a Parquet file: {error}.") from None


def _check_columns(path: Path, names: Sequence[str]) -> None:
    known = ", ".join(sorted(wire.ROW_KEYS))
    for name in names:
        if name not in wire.ROW_KEYS:
            raise WrongFile(
                f"{path} has a column {name[:40]!r}, which no record has. Known columns: {known}."
            )
        if names.count(name) > 1:
            raise WrongFile(f"{path} has two columns {name!r}.")
    for name in ("epoch", "batch", "loss", "batch_size"):
        if name not in names:
            raise WrongFile(f"{path} has no column {name!r}; every record needs one. Known columns: {known}.")


def _read_object(text: bytes, where: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise WrongFile(f"{where} is not JSON: {error}.") from None
    if not isinstance(found, dict):
        raise WrongFile(f"{where} must be a JSON object.")
    return found


def _not_utf8(path: Path) -> WrongFile:
    return WrongFile(f"{path} is not text in UTF-8. Save it as UTF-8 and import it again.")


def open_binary(path: Path) -> BufferedReader:
    """Open a file, with words for a person where it can't be.

    Raises: WrongFile.
    """
    try:
        return path.open("rb")
    except OSError as error:
        raise WrongFile(f"Can't read {path}: {error.strerror}.") from None
