"""Retention: what goes when, and what never does."""

from typing import Any

from lossboard_server.domain.retention import DAY_S, GRACE_S, Kept, Retention, plan_removals

NOW = 1_000 * DAY_S


def kept(key: int, days: float, *, size: int = 10, state: str = "finished", **more: Any) -> Kept:
    """Return a run whose last record is some days old."""
    values = {"is_archived": False, "tags": ()} | more
    return Kept(key, f"r{key}", f"run {key}", state, NOW - days * DAY_S, 5, size, **values)


def due(runs: list[Kept], rule: Retention) -> list[int]:
    """Return the keys of what goes now, in its order."""
    used = sum(run.bytes for run in runs)
    return [each.kept.key for each in plan_removals(runs, rule, used, NOW) if each.due_unix_s <= NOW]


def test_off_is_the_default_and_removes_nothing():
    assert not Retention().is_on
    assert due([kept(1, 900)], Retention()) == []


def test_by_age_goes_what_is_older_the_oldest_first():
    runs = [kept(1, 29), kept(2, 31), kept(3, 99)]
    assert due(runs, Retention(days=30)) == [3, 2]
    planned = plan_removals(runs, Retention(days=30), 30, NOW)
    assert [(each.kept.key, each.cause) for each in planned] == [(3, "age"), (2, "age"), (1, "age")]
    assert planned[2].due_unix_s == NOW + DAY_S


def test_by_size_archived_runs_go_first_and_only_until_the_rest_fits():
    runs = [kept(1, 9), kept(2, 8, is_archived=True), kept(3, 7), kept(4, 6, is_archived=True)]
    assert due(runs, Retention(bytes=40)) == []
    assert due(runs, Retention(bytes=39)) == [2]
    assert sorted(due(runs, Retention(bytes=20))) == [2, 4]
    assert sorted(due(runs, Retention(bytes=11))) == [1, 2, 4]


def test_what_age_removes_counts_for_the_size():
    assert due([kept(1, 50), kept(2, 9)], Retention(days=30, bytes=10)) == [1]


def test_what_runs_and_what_is_tagged_keep_and_what_just_ended_stays():
    safe = [
        kept(1, 400, state="running"),
        kept(2, 400, state="stalled"),
        kept(3, 400, tags=("a", "keep")),
        kept(4, 0.5 * GRACE_S / DAY_S),
    ]
    assert due(safe, Retention(days=1, bytes=1)) == []
    assert due([*safe, kept(5, 400, state="lost")], Retention(days=1, bytes=1)) == [5]
