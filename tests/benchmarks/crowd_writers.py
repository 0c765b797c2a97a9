"""The writers of `crowd`: each run has one connection and one delivery under way, as our client's sender."""

import asyncio
import json
import random
import sys
import time
from typing import Any, Final

from lines import Line

from lossboard.sending.sender import MAX_REST_S, PATIENCE

RECORDS_A_S: Final = 100
REST_S: Final = 0.08  # what the sender rests at this pace: a hundredth of a core is all it takes
BATCH_SIZE: Final = 32


async def main(plan: dict[str, Any]) -> dict[str, Any]:
    """Let every run log to the end and return what was measured."""
    measured: dict[str, Any] = {"posts_ms": [], "refused": 0, "seconds": plan["seconds"]}
    await asyncio.gather(*(write(number, plan, measured) for number in range(plan["runs"])))
    return measured | {"cpu_s": time.process_time()}


async def write(number: int, plan: dict[str, Any], measured: dict[str, Any]) -> None:
    """Send one run's records as they are logged, what was logged meanwhile in one delivery."""
    line, sent, total = Line(plan["port"], plan["token"]), 0, plan["seconds"] * RECORDS_A_S
    path = f"/api/v1/runs/crowd-{number}/records"
    await asyncio.sleep(plan["begin"] - time.time() + random.Random(number).uniform(0, REST_S))
    while sent < total:
        due = min(total, int((time.time() - plan["begin"]) * RECORDS_A_S))
        if due > sent:
            body = make_body(number, plan["begin"], range(sent, due))
            began = time.perf_counter()
            answer = await line.ask("POST", path, body)
            measured["posts_ms"].append((time.perf_counter() - began) * 1e3)
            if answer.status == 429:
                measured["refused"] += 1
                await asyncio.sleep(float(answer.header(b"retry-after") or 1))
                continue
            if answer.status != 200:
                raise RuntimeError(f"{answer.status}: {answer.body[:500]!r}")
            sent = due
        took = measured["posts_ms"][-1] / 1e3 if measured["posts_ms"] else 0.0
        await asyncio.sleep(max(REST_S, min(took * PATIENCE, MAX_REST_S)))
    line.close()


def make_body(run: int, begin: float, numbers: range) -> bytes:
    """Encode a delivery as the client does; record i was logged (i + 1)/100 s after the beginning."""
    count = len(numbers)
    series = {
        "reduction": "mean",
        "weight_unit": "items",
        "weight_source": "exact",
        "epoch": [i // 1000 for i in numbers],
        "batch": [i % 1000 for i in numbers],
        "loss": [2.0 / (1 + i / 500) + (i * 37 % 101) * 1e-3 for i in numbers],
        "batch_size": [BATCH_SIZE] * count,
        "weight": [float(BATCH_SIZE)] * count,
        "time": [begin + (i + 1) / RECORDS_A_S for i in numbers],
        "index": list(numbers),
    }
    head = {"writer": f"w{run}", "seq": numbers[0], "attempt": begin, "rank": 0, "state": "running"}
    return json.dumps(head | {"series": {"train/loss": series}}).encode()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(json.loads(sys.argv[1])))))
