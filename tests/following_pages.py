"""A page that follows runs, as the tests of following have it, and records for it to follow."""

import math
from typing import Any

import pytest
from starlette.testclient import TestClient

from lossboard_server.domain.points import MAX_EVENTS

COLUMNS = (
    *("x", "count", "nonfinite", "epoch", "batch", "low", "high", "items", "complete", "pass_no"),
    *("rank_low", "rank_high", "epochs"),
)


class Page:
    """What a page keeps of an answer, and how it takes what is new."""

    def __init__(self, service: TestClient, query: str) -> None:
        self.service, self.query = service, query
        self.curves: dict[tuple[str, str], dict[str, Any]] = {}
        self.warnings: list[dict[str, Any]] = []
        self.cursor: str | None = None
        self.resets = self.asked = 0
        self.told = 0
        """Points of the last answer."""

    def ask(self) -> None:
        since = f"&since={self.cursor}" if self.cursor else ""
        answer = self.service.get(f"/api/v1/curves?{self.query}{since}")
        assert answer.status_code == 200, answer.text
        told = answer.json()
        self.asked += 1
        self.resets += told["reset"]
        self.told = sum(len(curve["x"]) for curve in told["curves"])
        if told["reset"]:
            self.curves = {}
        for curve in told["curves"]:
            key = (curve["run"], curve["series"])
            self.curves[key] = join(self.curves.get(key), curve)
        self.cursor, self.warnings = told["cursor"], told["warnings"]

    def check(self) -> None:
        """Compare with all of it drawn anew, at the same width."""
        anew = Page(self.service, self.query)
        anew.ask()
        assert self.curves.keys() == anew.curves.keys()
        assert alike(self.warnings, anew.warnings), self.query
        for key, curve in anew.curves.items():
            kept = self.curves[key] | {"views": dict(self.curves[key]["views"])}
            # What came before a cut is followed for ten half-lives only.
            smooth = kept["views"].pop("smooth", None), curve["views"].pop("smooth", None)
            assert smooth[0] == pytest.approx(smooth[1], abs=5e-3)
            for name in curve:
                assert alike(kept[name], curve[name]), (key, name, self.query)


def join(known: dict[str, Any] | None, told: dict[str, Any]) -> dict[str, Any]:
    """Replace everything from `from_x` on."""
    if known is None or told["from_x"] is None:
        return (known or {}) | told | {"from_x": None, "shown": len(told["x"])}
    keep = sum(1 for x in known["x"] if x is None or x < told["from_x"])
    joined = known | told
    for name, column in told.items():
        if name == "views":
            joined[name] = {view: known[name][view][:keep] + own for view, own in column.items()}
        elif name == "bands" and column is not None:
            joined[name] = {
                view: {side: known[name][view][side][:keep] + values for side, values in own.items()}
                for view, own in column.items()
            }
        elif name == "events":
            before = [e for e in known[name] if e["x"] is None or e["x"] < told["from_x"]]
            joined[name] = (before + column)[-MAX_EVENTS:]
        elif name in COLUMNS and isinstance(column, list):
            joined[name] = (known[name] or [None] * keep)[:keep] + column
    return joined | {"from_x": None, "shown": len(joined["x"])}


def alike(kept: Any, anew: Any) -> bool:
    if isinstance(anew, dict):
        return kept.keys() == anew.keys() and all(alike(kept[name], anew[name]) for name in anew)
    if isinstance(anew, list):
        return len(kept) == len(anew) and all(map(alike, kept, anew))
    if isinstance(anew, float) and isinstance(kept, (int, float)):
        return math.isclose(kept, anew, rel_tol=1e-12, abs_tol=1e-12)
    return bool(kept == anew)


def row(epoch: int | None, batch: int, *, at: float, **more: Any) -> dict[str, Any]:
    loss = 2.0 + math.sin(batch) / (1 + (epoch or 0))
    return {"epoch": epoch, "batch": batch, "loss": loss, "batch_size": 4, "time": at, "step": int(at)} | more


def post(service: TestClient, run: str, rows: list[dict[str, Any]]) -> None:
    for first in range(0, len(rows), 5000):
        answer = service.post(f"/api/v1/runs/{run}/records", json={"records": rows[first : first + 5000]})
        assert answer.status_code == 200, answer.text


def training(
    epochs: int, batches: int, *, val: int = 0, every: int | None = None, **more: Any
) -> list[dict[str, Any]]:
    """Return records in the order of training, one a second, with validation behind each epoch.

    `every` so many batches another pass of it; its records don't tell the step then.
    """
    rows, at = [], 0.0
    for epoch in range(epochs):
        for batch in range(batches):
            rows.append(row(epoch, batch, at=(at := at + 1), **more))
            if (batch + 1) % (every or batches) == 0:
                told = {"split": "val", "pass_no": batch // every} if every else {"split": "val"}
                passed = [row(epoch, n, at=(at := at + 1), **told, **more) for n in range(val)]
                rows += [each | {"step": None} for each in passed] if every else passed
    return rows
