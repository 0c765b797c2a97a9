"""The viewers of `crowd`: each has an event stream, and asks as the page does when it is told of a change."""

import asyncio
import json
import random
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from crowd_writers import BATCH_SIZE, RECORDS_A_S
from lines import READ_BYTES, Line

CURVES_INTERVAL_S: Final = 0.5  # as in frontend/feed.js
LIST_INTERVAL_S: Final = 3.0
PATIENCE_S: Final = 10.0  # with the last records
WARMING_S: Final = 2.0  # not counted: the first curves are drawn then


class Viewer:
    """One page: the runs on its charts, a stream, and what it has asked for."""

    def __init__(self, runs: list[str], plan: dict[str, Any], measured: dict[str, Any]) -> None:
        self.seen = dict.fromkeys(runs, 0)
        self._plan = plan
        self._measured = measured
        self._total = plan["seconds"] * RECORDS_A_S
        self._wanted: list[asyncio.Event] = []

    @property
    def is_done(self) -> bool:
        """Whether every record is in its curve."""
        return all(seen >= self._total for seen in self.seen.values())

    async def follow(self) -> None:
        """Ask whenever the stream tells of a change, until everything has come or patience ends."""
        # Pages are not opened in one moment: as the writers, they begin one after the other.
        begin = self._plan["begin"] + random.Random(min(self.seen)).uniform(0, CURVES_INTERVAL_S)
        await asyncio.sleep(begin - time.time())
        runs = "&".join(f"run={run}" for run in self.seen)
        asked = [
            f"/api/v1/curves?{runs}&series=train%2Floss&x={x}&points={points}"
            for x, points in (("items", 2000), ("epoch", 1000))
        ]
        tasks = [asyncio.create_task(self._listen())]
        tasks += [
            asyncio.create_task(self._limit(self._curves(question), CURVES_INTERVAL_S)) for question in asked
        ]
        tasks.append(asyncio.create_task(self._limit(self._list(), LIST_INTERVAL_S)))
        end = self._plan["begin"] + self._plan["seconds"] + PATIENCE_S
        while not self.is_done and time.time() < end:
            await asyncio.sleep(0.1)
            for task in tasks:
                if task.done():
                    task.result()
        for task in tasks:
            task.cancel()

    async def _listen(self) -> None:
        line = Line(self._plan["port"], self._plan["token"])  # kept: without it the stream would close
        reader = await line.listen("/api/v1/events")
        while told := await reader.read(READ_BYTES):
            if b"event: " in told:
                for wanted in self._wanted:
                    wanted.set()

    async def _limit(self, ask: Callable[[Line], Awaitable[None]], interval_s: float) -> None:
        """Ask when it is wanted, never twice at once and not too often: the page's limiter."""
        line, wanted = Line(self._plan["port"], self._plan["token"]), asyncio.Event()
        self._wanted.append(wanted)
        wanted.set()
        while True:
            await wanted.wait()
            wanted.clear()
            began = time.monotonic()
            await ask(line)
            await asyncio.sleep(max(0.0, began + interval_s - time.monotonic()))

    def _curves(self, question: str) -> Callable[[Line], Awaitable[None]]:
        cursor = ""

        async def ask(line: Line) -> None:
            nonlocal cursor
            answer = await self._ask(line, question + (f"&since={cursor}" if cursor else ""), "answers_ms")
            if answer is None:
                return
            self._measured["resets"] += bool(cursor) and answer["reset"]
            cursor = answer["cursor"]
            if answer["x"] == "items":
                self._note_seen(answer["curves"])

        return ask

    def _list(self) -> Callable[[Line], Awaitable[None]]:
        async def ask(line: Line) -> None:
            await self._ask(line, "/api/v1/runs?limit=100", "lists_ms")

        return ask

    async def _ask(self, line: Line, path: str, times: str) -> dict[str, Any] | None:
        began = time.perf_counter()
        answer = await line.ask("GET", path)
        self._measured[times].append((time.perf_counter() - began) * 1e3)
        if answer.status == 429:
            self._measured["refused"] += 1
            return None
        if answer.status != 200:
            raise RuntimeError(f"{answer.status}: {answer.body[:500]!r}")
        told: dict[str, Any] = json.loads(answer.body)
        return told

    def _note_seen(self, curves: list[dict[str, Any]]) -> None:
        """Note how old each record is that a curve reaches for the first time."""
        now, begin, delays = time.time(), self._plan["begin"], self._measured["delays_ms"]
        for curve in curves:
            run, reached = curve["run"], round(curve["x"][-1] / BATCH_SIZE) if curve["x"] else 0
            for i in range(self.seen[run], reached):
                logged = begin + (i + 1) / RECORDS_A_S
                if logged > begin + WARMING_S:
                    delays.append((now - logged) * 1e3)
            self.seen[run] = max(self.seen[run], reached)


async def main(plan: dict[str, Any]) -> dict[str, Any]:
    """Let every viewer follow its share of the runs and return what was measured."""
    measured: dict[str, Any] = {"delays_ms": [], "answers_ms": [], "lists_ms": [], "refused": 0, "resets": 0}
    runs = [f"crowd-{number}" for number in range(plan["runs"])]
    viewers = [Viewer(runs[first :: plan["viewers"]], plan, measured) for first in range(plan["viewers"])]
    await asyncio.gather(*(viewer.follow() for viewer in viewers))
    total = plan["seconds"] * RECORDS_A_S
    missing = sum(total - seen for viewer in viewers for seen in viewer.seen.values())
    return measured | {"missing": missing, "seconds": plan["seconds"], "cpu_s": time.process_time()}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(json.loads(sys.argv[1])))))
