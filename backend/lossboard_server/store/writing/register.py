"""Making and finding what records hang on: runs, their series and their attempts."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, text, update

from lossboard import wire
from lossboard_server.domain.blocks import Block
from lossboard_server.domain.changes import Change
from lossboard_server.domain.meaning import Reduction
from lossboard_server.errors import FieldError, InvalidInput, RunNotFound
from lossboard_server.store.database import is_writing
from lossboard_server.store.statements import Statement
from lossboard_server.store.tables import TRAIN_SPLIT, AttemptRow, RunKeyRow, RunRow, SeriesRow
from lossboard_server.store.writing.deliveries import AttemptStart, Registered, RunSpec, SeriesMeaning
from lossboard_server.store.writing.life import LIFE, begin_attempt, begin_life
from lossboard_server.store.writing.trail import redraw

# Where another replica makes the same run at this moment, this waits for it and then returns nothing.
_TAKE_KEY = text("INSERT INTO run_keys (id) VALUES (:run_id) ON CONFLICT (id) DO NOTHING RETURNING key")
# Made once: a request of ten records spends more on building its queries than on running them.
_FIND_KEY = Statement(select(RunKeyRow.key).where(RunKeyRow.id == bindparam("run_id")))
_run = select(
    *(RunRow.key, RunRow.id, RunRow.name, RunRow.project, RunRow.state, RunRow.version),
    *(RunRow.redrawn, RunRow.edited, *LIFE),
).where(RunRow.key == bindparam("run_key"), RunRow.deleted_unix_s.is_(None))
_FIND_RUN = Statement(_run)
# A run that a writer has found is its own until it commits: another replica may hold the same delivery.
_LOCK_RUN = Statement(_run.with_for_update(key_share=True))
_SERIES_OF = Statement(select(SeriesRow.__table__).where(SeriesRow.run == bindparam("of_run")))
_ATTEMPTS_OF = Statement(select(AttemptRow.__table__).where(AttemptRow.run == bindparam("of_run")))


def find_run(connection: Connection, run_id: str) -> Any:
    """Return the run's row; a writer's transaction has the run for itself from here on.

    Raises: RunNotFound.
    """
    run = _look_up(connection, run_id)
    if run is None:
        raise RunNotFound(
            f"There is no run {run_id}. `lossboard runs` lists those there are; "
            f"PUT /api/v1/runs/{run_id} with {{}} makes it."
        )
    return run


def _look_up(connection: Connection, run_id: str) -> Any:
    # Two questions, the second by the key alone: a database sharded by it asks one shard only.
    for (key,) in _FIND_KEY.run(connection, {"run_id": run_id}):
        query = _LOCK_RUN if is_writing(connection) else _FIND_RUN
        return next(iter(query.run(connection, {"run_key": key})), None)
    return None


def find_frameworks(connection: Connection, run: int) -> dict[str, str]:
    """Return the training frameworks that a run's environment names, with their versions."""
    environment = connection.execute(select(RunRow.environment).where(RunRow.key == run)).scalar_one()
    frameworks = environment.get("frameworks")
    if not isinstance(frameworks, dict):  # an environment is whatever a client says
        return {}
    return {name: version for name, version in frameworks.items() if isinstance(version, str)}


def register_run(
    connection: Connection, run_id: str, spec: RunSpec, now: float
) -> tuple[Registered, list[Change]]:
    """Make a run, or take up one that is there; the same request twice changes nothing.

    A run that has ended runs again only with an attempt that is newer than all before: what a
    dead child left is delivered, or the run is renamed, long after its end.
    """
    known = _look_up(connection, run_id)
    key: Any = None if known else connection.execute(_TAKE_KEY, {"run_id": run_id}).scalar()
    if known is None and key is None:
        known = find_run(connection, run_id)  # made meanwhile
    told: dict[str, Any] = {
        name: value
        for name in ("project", "name", "config", "tags", "environment")
        if (value := getattr(spec, name)) is not None
    }
    if known is None:
        base = {"project": "default", "name": run_id, "config": {}, "tags": [], "environment": {}}
        fixed = {"id": run_id, "created_unix_s": now, "records": 0, "version": 0, **begin_life(now)}
        connection.execute(insert(RunRow).values(key=key, **base, **fixed))
        version = 1
    else:
        key, version = known.key, known.version + 1
        if _is_superseded(connection, key, spec.attempt):
            told = {}
        told = {name: value for name, value in told.items() if name not in known.edited}
        if told.get("name", known.name) != known.name:
            redraw(connection, key)
    if spec.series:
        open_series(connection, key, dict(spec.series), ())
    number = 1
    if spec.attempt:
        number = _declare_attempt(connection, key, spec.attempt)
        begun = begin_attempt(find_run(connection, run_id), spec.attempt.started_unix_s, now)
        if begun:
            connection.execute(update(RunRow).where(RunRow.key == key).values(begun))
    connection.execute(update(RunRow).where(RunRow.key == key).values(version=version, **told))
    run = find_run(connection, run_id)
    change = Change(run_id, set(spec.series), version, is_about_run=True, key=key)
    return Registered(run_id, run.name, run.project, number, known is None), [change]


def open_series(
    connection: Connection,
    run: int,
    meanings: Mapping[str, SeriesMeaning | None],
    blocks: Iterable[Block],
) -> dict[str, tuple[int, Reduction]]:
    """Return each named series' key and reduction, made where it is new.

    A new series takes the reduction of its first record where nothing else declared one.
    """
    if not meanings:
        return {}
    known = {row.name: row for row in _SERIES_OF.run(connection, {"of_run": run})}
    firsts: dict[str, Block] = {}
    for block in blocks:
        firsts.setdefault(block.series, block)
    found = {}
    for name, meaning in sorted(meanings.items()):
        row = known.get(name)
        if row is not None:
            _redeclare(connection, run, row, meaning)
            found[name] = (row.key, Reduction(row.reduction))
            continue
        key = len(known) + sum(name not in known for name in found)
        if key >= wire.MAX_SERIES:
            message = (
                f"would be series {key + 1}; a run has at most {wire.MAX_SERIES}. Is a number in its name?"
            )
            raise InvalidInput(f"{name} {message}", [FieldError(f"series.{name}", message)])
        values = _series_values(meaning, firsts.get(name))
        connection.execute(insert(SeriesRow).values(run=run, key=key, name=name, **values))
        redraw(connection, run)
        found[name] = (key, Reduction(values["reduction"]))
    return found


def open_attempts(
    connection: Connection, run: int, blocks: Mapping[float, Sequence[Block]]
) -> dict[float, int]:
    """Return each attempt's key by its start time, made where it is new.

    `blocks`: its records at hand. A hand-typed attempt begins where the first of its training
    stands, whichever of them comes first; validation alone does not tell where it begins.
    """
    if not blocks:
        return {}
    known = {row.started_unix_s: row for row in _ATTEMPTS_OF.run(connection, {"of_run": run})}
    keys: dict[float, int] = {}
    for started, own in sorted(blocks.items()):
        row = known.get(started)
        if row is None:
            epoch, batch = _find_start(own) or (None, 0)
            key = (
                max((other.key for other in known.values()), default=-1) + 1 + len(keys.keys() - known.keys())
            )
            fresh = {"started_unix_s": started, "is_declared": False, "world_size": 1}
            place = {"start_epoch": epoch, "start_batch": batch}
            connection.execute(insert(AttemptRow).values(run=run, key=key, **fresh, **place))
            redraw(connection, run)
            keys[started] = key
            continue
        keys[started] = row.key
        start = None if row.is_declared else _find_start(own)
        before = (row.start_epoch, row.start_batch) if row.start_epoch is not None else None
        if start is not None and (before is None or start < before):
            where = (AttemptRow.run == run, AttemptRow.key == row.key)
            values = {"start_epoch": start[0], "start_batch": start[1]}
            connection.execute(update(AttemptRow).where(*where).values(values))
            redraw(connection, run)
    return keys


def _find_start(blocks: Iterable[Block]) -> tuple[int, int] | None:
    """Return the least position of training; an undeclared epoch stands where epoch 0 does."""
    return min((_find_first(block) for block in blocks if block.series.startswith(TRAIN_SPLIT)), default=None)


def _find_first(block: Block) -> tuple[int, int]:
    first = min(block.epoch)
    count = block.epoch.count(first)
    if first >= 0 and block.epoch[count - 1] == first:  # the usual case; a pair for each record took 0.2 µs
        return first, min(block.batch[:count])
    return min(zip((max(epoch, 0) for epoch in block.epoch), block.batch, strict=True))


def _declare_attempt(connection: Connection, run: int, attempt: AttemptStart) -> int:
    """Keep what the client says of an attempt; return its number.

    A rank that has not heard yet where its attempt starts takes nothing back from one that has.
    """
    where = (AttemptRow.run == run, AttemptRow.started_unix_s == attempt.started_unix_s)
    open_attempts(connection, run, {attempt.started_unix_s: ()})
    known = connection.execute(select(AttemptRow.__table__).where(*where)).one()
    starts = [] if attempt.start_epoch is None else [(attempt.start_epoch, attempt.start_batch)]
    if known.is_declared and known.start_epoch is not None:
        starts.append((known.start_epoch, known.start_batch))
    epoch, batch = min(starts, default=(None, 0))
    values = {
        "is_declared": True,
        "start_epoch": epoch,
        "start_batch": batch,
        "world_size": max(attempt.world_size, known.world_size),
    }
    if any(getattr(known, name) != value for name, value in values.items()):
        connection.execute(update(AttemptRow).where(*where).values(values))
        redraw(connection, run)
    started = connection.execute(select(AttemptRow.started_unix_s).where(AttemptRow.run == run)).scalars()
    return sum(other <= attempt.started_unix_s for other in started)


def _is_superseded(connection: Connection, run: int, attempt: AttemptStart | None) -> bool:
    """Whether a later attempt has already said what the run is: an older one may be synced after it."""
    if attempt is None:
        return False
    later = (AttemptRow.run == run, AttemptRow.started_unix_s > attempt.started_unix_s)
    return connection.execute(select(AttemptRow.key).where(*later).limit(1)).first() is not None


def _series_values(meaning: SeriesMeaning | None, first: Block | None) -> dict[str, Any]:
    reduction = (meaning.reduction if meaning else None) or (first.reduction if first else None) or "mean"
    has_weight = first is not None and first.weight is not None and first.weight[0] is not None
    has_size = first is None or (first.batch_size is not None and first.batch_size[0] is not None)
    if not has_size and not has_weight:
        reduction = "unknown"
    source = "unknown" if reduction == "unknown" else "declared" if has_weight else "assumed"
    return {
        "reduction": int(Reduction.named(reduction)),
        "weight_unit": (meaning.weight_unit if meaning else None) or "items",
        "weight_source": (meaning.weight_source if meaning else None) or source,
        "traits": _join_traits({}, meaning),
    }


def _redeclare(connection: Connection, run: int, row: Any, meaning: SeriesMeaning | None) -> None:
    """Take a newer word on unit and source; the reduction of stored records never changes."""
    if meaning is None:
        return
    unit = meaning.weight_unit or row.weight_unit
    source = meaning.weight_source or row.weight_source
    traits = _join_traits(row.traits, meaning)
    if (unit, source, traits) != (row.weight_unit, row.weight_source, row.traits):
        where = (SeriesRow.run == run, SeriesRow.key == row.key)
        values = {"weight_unit": unit, "weight_source": source, "traits": traits}
        connection.execute(update(SeriesRow).where(*where).values(values))
        redraw(connection, run)


def _join_traits(known: dict[str, Any], meaning: SeriesMeaning | None) -> dict[str, Any]:
    joined = known | (meaning.traits if meaning else {})
    return {key: value for key, value in joined.items() if value is not None}
