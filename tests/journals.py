"""Records packed by hand, and what runs left in the journals of a state folder read back."""

from pathlib import Path
from typing import Any

from lossboard.journal.reading import Series, read_manifest, read_records, read_series
from lossboard.journal.slots import pack

MEANING = Series("train/loss", "mean", "items", "assumed")


def make_slot(batch: int) -> bytes:
    """Pack a record of one item whose loss is its batch."""
    return pack(0, 0, batch, float(batch), 1, None, 1.0, 0, None, None, None, None)


def journals(folder: Path, run: str | None = None) -> list[Path]:
    """Return the writers' folders that are left, those of one run where it is named."""
    root = folder / "journal"
    found = sorted(root.iterdir()) if root.is_dir() else []
    return [journal for journal in found if run is None or read_manifest(journal)["run"] == run]


def journalled(folder: Path, *keys: str, run: str | None = None, series: str | None = None) -> list[Any]:
    """Return the named values of every record, or of those of one run or series; none may be damaged."""
    found = []
    for journal in journals(folder, run):
        declared = read_series(journal)
        for index, record in read_records(journal):
            assert record is not None, f"record {index} of {journal} is damaged"
            name = declared[record.series].name
            if series in (None, name):
                values = {**record._asdict(), "series": name}
                found.append(tuple(values[key] for key in keys))
    return found if len(keys) != 1 else [value for (value,) in found]


def ended(folder: Path) -> list[str | None]:
    """Return how the journals say that their runs ended."""
    return [read_manifest(journal).get("ended") for journal in journals(folder)]
