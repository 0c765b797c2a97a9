"""Records as the epoch that the domain explains."""

from collections.abc import Iterable
from typing import Any

from lossboard_server.domain.explaining.epoch import Explained
from lossboard_server.domain.summary import Row
from lossboard_server.domain.views import view_epoch, views_of_rows
from oracle.rows import by_rank, rows_of


def epoch_of(
    records: Iterable[dict[str, Any]], *, series: str = "train/loss", has_rows: bool = True, **more: Any
) -> Explained:
    """Return an epoch of these records with all its views; `more` are fields of `Explained`.

    `has_rows` False: as of an epoch too long to be read record by record.
    """
    rows: list[Row] = rows_of(records)
    ranks = by_rank(rows)
    reduction = rows[0].evaluation.reduction
    is_declared = more.get("is_declared", True)
    views = (
        views_of_rows(list(ranks.values()), reduction, rows, is_declared)
        if has_rows
        else view_epoch(list(ranks.values()), reduction, is_declared=is_declared)
    )
    told = {"weight_unit": "items", "weight_source": "exact", "before": [] if has_rows else None} | more
    return Explained(series, ranks, views, reduction, rows=rows if has_rows else None, **told)
