"""What a monitoring system asks for: counts and sizes in Prometheus's text format."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from fastapi import APIRouter, Request
from starlette.responses import Response

from lossboard_server import __version__
from lossboard_server.api.intake import Intake
from lossboard_server.api.readers import Readers
from lossboard_server.live.hub import Hub
from lossboard_server.store.keeping.keeper import Keeper
from lossboard_server.store.store import Store

router = APIRouter(tags=["health"])

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
STORAGE: Final = ("ok", "full", "damaged")


class Metric(NamedTuple):
    """One metric: what it is, and its values by label."""

    name: str
    kind: str
    help: str
    values: dict[str, float]


@router.get("/metrics")
def get_metrics(request: Request) -> Response:
    """Tell counts since the start and what is so now; the token is needed, as everywhere."""
    state = request.app.state
    text = write_metrics(state.store, state.hub, state.intake, state.keeper, state.readers)
    return Response(text, media_type=MEDIA_TYPE)


def write_metrics(store: Store, hub: Hub, intake: Intake, keeper: Keeper, readers: Readers) -> str:
    """Write the metrics as text.

    Source: https://prometheus.io/docs/instrumenting/exposition_formats/
    """
    lines = []
    for metric in _metrics(store, hub, intake, keeper, readers):
        lines += [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}"]
        lines += [f"{metric.name}{labels} {value:.17g}" for labels, value in metric.values.items()]
    return "\n".join(lines) + "\n"


def _metrics(store: Store, hub: Hub, intake: Intake, keeper: Keeper, readers: Readers) -> Iterator[Metric]:
    condition, writer = store.condition, store.writer
    version = {f'{{version="{__version__}"}}': 1.0}
    yield Metric("lossboard_info", "gauge", "The release that runs.", version)
    states = {f'{{state="{state}"}}': float(condition.storage == state) for state in STORAGE}
    yield Metric("lossboard_storage", "gauge", "1 for what the database is now.", states)
    failures = {f'{{reason="{reason}"}}': float(n) for reason, n in condition.failures.items()}
    yield Metric("lossboard_storage_failures_total", "counter", "Requests that failed by it.", failures)
    yield _one("lossboard_commits_total", "counter", "Transactions of the writer.", condition.commits)
    yield _one("lossboard_queued_jobs", "gauge", "Requests that wait for the writer.", writer.queued)
    yield _one("lossboard_held_bytes", "gauge", "Bodies in memory, not yet answered.", intake.held_bytes)
    refused = {'{reason="queue"}': float(writer.refused), '{reason="bytes"}': float(intake.refused)}
    yield Metric("lossboard_refused_total", "counter", "Requests answered 429.", refused)
    yield _one("lossboard_viewers", "gauge", "Open event streams.", hub.viewers)
    dropped = "Event streams cut since nobody read them."
    yield _one("lossboard_viewers_dropped_total", "counter", dropped, hub.dropped)
    yield _one("lossboard_readers", "gauge", "Processes that draw answers.", len(readers.processes))
    removed = {f'{{cause="{cause}"}}': float(keeper.removed[cause]) for cause in ("age", "size")}
    yield Metric("lossboard_runs_removed_total", "counter", "Runs that retention has deleted.", removed)
    if store.wal is not None:
        yield _one("lossboard_wal_bytes", "gauge", "Size of SQLite's WAL.", store.wal.size_bytes)
    resident = _read_resident_bytes()
    if resident is not None:
        yield _one(
            "process_resident_memory_bytes", "gauge", "Memory of the service without its readers.", resident
        )


def _one(name: str, kind: str, text: str, value: float) -> Metric:
    return Metric(name, kind, text, {"": value})


def _read_resident_bytes() -> int | None:
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return None  # no Linux
    line = next((line for line in status.splitlines() if line.startswith("VmRSS:")), "")
    return int(line.split()[1]) * 1024 if line else None
