"""The hub: changes reach viewers once, coalesced, and a slow viewer costs one entry a run."""

import asyncio
import threading

from lossboard_server.domain.changes import Change
from lossboard_server.live.hub import Hub, RunChange, Viewer


def change(run: str, version: int, *series: str) -> Change:
    return Change(run, set(series), version)


async def first(viewer: Viewer) -> list[RunChange]:
    return await asyncio.wait_for(anext(viewer.changes().__aiter__()), 5)


def test_changes_of_another_thread_arrive_coalesced_by_run() -> None:
    async def follow() -> list[RunChange]:
        hub = Hub()
        hub.attach(asyncio.get_running_loop())
        viewer = hub.join(())

        def write() -> None:
            for version in range(1, 1001):
                hub.announce([change("a", version, "train/loss"), change("b", version, "val/loss")])

        thread = threading.Thread(target=write)
        thread.start()
        await asyncio.to_thread(thread.join)
        return await first(viewer)

    told = asyncio.run(follow())
    assert [(each.run, each.version, each.series) for each in told] == [
        ("a", 1000, {"train/loss"}),
        ("b", 1000, {"val/loss"}),
    ]


def test_viewer_of_one_run_hears_of_it_and_of_new_runs_only() -> None:
    async def follow() -> list[RunChange]:
        hub = Hub()
        hub.attach(asyncio.get_running_loop())
        viewer = hub.join(["a"])
        hub.announce(
            [change("b", 1, "train/loss"), change("a", 2, "train/loss"), Change("c", {"train/x"}, 1, True)]
        )
        await asyncio.sleep(0)
        return await first(viewer)

    told = asyncio.run(follow())
    assert [(each.run, each.series) for each in told] == [("a", {"train/loss"}), ("c", set())]


def test_closing_the_hub_ends_every_stream_old_and_new() -> None:
    async def follow() -> list[list[RunChange]]:
        hub = Hub()
        hub.attach(asyncio.get_running_loop())
        viewer = hub.join(())
        waiting = asyncio.create_task(collect(viewer))
        await asyncio.sleep(0)
        hub.close()
        return await asyncio.wait_for(waiting, 5) + await asyncio.wait_for(collect(hub.join(())), 5)

    async def collect(viewer: Viewer) -> list[list[RunChange]]:
        return [told async for told in viewer.changes()]

    assert asyncio.run(follow()) == []


def test_announcing_without_a_loop_or_after_it_closed_is_harmless() -> None:
    hub = Hub()
    hub.announce([change("a", 1)])

    async def attach() -> None:
        hub.attach(asyncio.get_running_loop())
        hub.join(())

    asyncio.run(attach())
    hub.announce([change("a", 2)])
