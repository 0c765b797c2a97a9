"""What comparing needs to know of a run, gathered from its newest complete epochs."""

from collections.abc import Iterator

from lossboard_server.api.views.reader import RunReader
from lossboard_server.domain.comparing.facts import Facts
from lossboard_server.domain.extent import measure_extent
from lossboard_server.store.reading.series import Series


def gather_facts(reader: RunReader) -> Iterator[Facts]:
    """Yield the facts of the first wanted series of each split that has records."""
    splits: dict[str, list[Series]] = {}
    for series in reader.wanted_series:
        if reader.laps(series):
            splits.setdefault(series.split, []).append(series)
    for group in splits.values():
        facts = _gather(reader, group[0])
        # A total may stand behind its parts, and its gap concerns them all.
        facts.parts_gap = max(s.traits.get("parts_gap") or 0.0 for s in group)
        yield facts


def _gather(reader: RunReader, series: Series) -> Facts:
    facts = Facts(
        run=reader.run.id,
        name=reader.run.name,
        series=series.name,
        reduction=series.reduction.wire_name,
        weight_unit=series.weight_unit,
        weight_source=series.weight_source,
        is_declared=all(lap.place[0] >= 0 for lap in reader.laps(series)),
        finding=series.traits.get("finding"),
        dtype=series.traits.get("dtype"),
        dataset_items=series.traits.get("dataset_items"),
    )
    newest = reader.newest(series)
    if newest is None:
        return facts
    epoch, views = newest
    merged = views.merged
    extent = measure_extent(epoch.ranks, merged, series.traits)
    facts.batch_size = merged.batch_size
    facts.weight_differs = bool(merged.items) and abs(merged.weight[0] - merged.items) > 1e-9 * merged.items
    facts.ranks = len(epoch.ranks)
    facts.accumulation = extent.accumulation
    facts.resolution = extent.resolution
    facts.level = views.per_item
    facts.std_error = merged.std_error
    if reader.is_complete(epoch) or not series.is_train:  # a pass is counted as far as it came
        facts.batches = views.global_batches
    if reader.is_complete(epoch):
        facts.items = merged.items_seen
    return facts
