"""Records as a person types them, read as the domain's rows."""

from collections.abc import Iterable
from typing import Any

from lossboard.wire import NONFINITE
from lossboard_server.domain.meaning import Evaluation, Reduction
from lossboard_server.domain.summary import Row, Summary, summarise


def rows_of(records: Iterable[dict[str, Any]], split: str = "train", series: str = "loss") -> list[Row]:
    """Return one series' records as rows, in order of epoch, pass, batch and rank."""
    rows = [
        as_row(record)
        for record in records
        if (record.get("split", "train"), record.get("series", "loss")) == (split, series)
    ]
    return sorted(rows, key=lambda row: (row.epoch, row.pass_no, row.batch, row.rank))


def as_row(record: dict[str, Any]) -> Row:
    """Return one record as a row."""
    loss = record["loss"]
    evaluation = Evaluation(
        NONFINITE[loss] if isinstance(loss, str) else loss,
        record.get("batch_size"),
        record.get("weight"),
        record.get("divisor"),
        record.get("window_items"),
        Reduction.named(record.get("reduction", "mean")),
    )
    place = (record["epoch"], record["batch"], record.get("rank", 0))
    return Row(*place, evaluation, record.get("step"), record.get("time"), record.get("pass_no", 0))


def by_rank(rows: Iterable[Row]) -> dict[int, Summary]:
    """Summarise rows rank by rank, as the store keeps them."""
    found: dict[int, list[Row]] = {}
    for row in rows:
        found.setdefault(row.rank, []).append(row)
    return {rank: summarise(of_rank) for rank, of_rank in sorted(found.items())}
