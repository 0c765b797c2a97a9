"""The forms in which a run's records go out: CSV, JSON Lines and Parquet, each streamed."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from pydantic_core import to_json

from lossboard_server.errors import Unavailable
from lossboard_server.store.keeping.exporting import HEADER, encode_row

Chunks = Iterable[list[tuple[Any, ...]]]

ROWS_A_GROUP: Final = 50_000  # of a Parquet file: about 20 MiB while they are gathered
METADATA_KEY: Final = b"lossboard"  # of a Parquet file's schema: what is known of the run, as JSON


def write_csv(chunks: Chunks, _: dict[str, Any]) -> Iterator[bytes]:
    """Yield records as CSV with a header; an unknown value is empty.

    Units: time in unix seconds; `attempt` as it was sent, its start in unix seconds.
    """
    yield _csv([HEADER])
    for rows in chunks:
        yield _csv([encode_row(row) for row in rows])


def write_jsonl(chunks: Chunks, _: dict[str, Any]) -> Iterator[bytes]:
    """Yield records as JSON Lines, each a row that `POST …/records` takes."""
    for rows in chunks:
        lines = [
            to_json(
                {
                    name: value
                    for name, value in zip(HEADER, encode_row(row), strict=True)
                    if value is not None or name in ("epoch", "batch_size")
                }
            )
            for row in rows
        ]
        yield b"\n".join(lines) + b"\n"


def write_parquet(chunks: Chunks, about: dict[str, Any]) -> Iterator[bytes]:
    """Yield records as a Parquet file, a row group at a time; what is known of the run is in its schema.

    Raises: Unavailable without pyarrow.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise Unavailable(
            "Parquet needs pyarrow, which is not installed beside this service. Install it with: "
            'pip install "lossboard[parquet]"'
        ) from None
    schema = _make_schema(pyarrow).with_metadata({METADATA_KEY: to_json(about)})
    sink = _Sink()

    def write() -> Iterator[bytes]:
        with parquet.ParquetWriter(pyarrow.PythonFile(sink, "w"), schema) as file:
            for rows in _gather(chunks):
                columns = zip(*rows, strict=True)
                arrays = [
                    pyarrow.array(column, field.type) for column, field in zip(columns, schema, strict=True)
                ]
                file.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))
                yield sink.take()
        yield sink.take()

    return write()


FORMATS: Final[dict[str, tuple[Callable[[Chunks, dict[str, Any]], Iterator[bytes]], str]]] = {
    "csv": (write_csv, "text/csv; charset=utf-8"),
    "jsonl": (write_jsonl, "application/jsonl"),
    "parquet": (write_parquet, "application/vnd.apache.parquet"),
}


class _Sink(io.RawIOBase):
    """A file that is taken away piece by piece while it is written."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        part = bytes(data)
        self._parts.append(part)
        self._size += len(part)
        return len(part)

    def tell(self) -> int:
        return self._size

    def take(self) -> bytes:
        """Return what was written since the last call."""
        parts, self._parts = self._parts, []
        return b"".join(parts)


def _make_schema(pyarrow: Any) -> Any:
    types = {
        "series": pyarrow.string(),
        "reduction": pyarrow.string(),
        "epoch": pyarrow.int32(),
        "pass_no": pyarrow.int32(),
        "batch": pyarrow.int64(),
        "rank": pyarrow.int32(),
        "call": pyarrow.int32(),
        "batch_size": pyarrow.int32(),
        "step": pyarrow.int64(),
    }
    return pyarrow.schema([(name, types.get(name, pyarrow.float64())) for name in HEADER])


def _gather(chunks: Chunks) -> Iterator[list[tuple[Any, ...]]]:
    """Join chunks into row groups."""
    gathered: list[tuple[Any, ...]] = []
    for rows in chunks:
        gathered += rows
        if len(gathered) >= ROWS_A_GROUP:
            yield gathered
            gathered = []
    if gathered:
        yield gathered


def _csv(rows: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
