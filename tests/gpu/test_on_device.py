"""Watched training on an accelerator: nothing waits for the device, and every record is exact.

    python tests/gpu/test_on_device.py                  on the first CUDA device; prints what watching costs
    python tests/gpu/test_on_device.py --device cpu     the same loops where there is none

A loop keeps its losses on the device and compares them with the records when it is over.
While it runs, whatever makes the host wait for the device is an error. Between epochs a loss
inside a compiled graph is waited for once: there its values are fetched. All of it is one file,
so that it can be taken to a machine with a GPU alone.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import lossboard
from lossboard.journal.reading import read_records, read_series

EPOCHS, BATCHES, ROWS, WIDTH, CLASSES = 3, 40, 64, 128, 10
WARM_UP = 4  # steps in which torch compiles, captures and allocates, and may wait
CLASS_WEIGHTS = [0.5 + number / 4 for number in range(CLASSES)]
IGNORED = -100

Batch = tuple[torch.Tensor, torch.Tensor]


class Loop:
    """One training loop on one device; `step` returns the loss as the script has it."""

    def __init__(self, device: torch.device, folder: Path, *, is_watched: bool = True) -> None:
        torch.manual_seed(1)
        self.device = device
        self.folder = folder
        self.is_watched = is_watched
        self.net = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, CLASSES)).to(device)
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.01)
        self.run: lossboard.Run | None = None
        self.seen: dict[str, list[torch.Tensor]] = {"train": [], "val": []}
        self.step_s: list[float] = []

    def watch(self, loss: Any) -> Any:
        """Watch a loss, unless this is the loop to compare with."""
        if self.is_watched:
            self.run = lossboard.watch(loss, mode="offline", strict=True, dir=self.folder)
        return loss

    def batches(self, targets: Callable[[], torch.Tensor] | None = None) -> list[Batch]:
        """Make batches that are on the device before the loop begins; the last one is smaller."""
        targets = targets or (lambda: torch.randint(0, CLASSES, (ROWS,)))
        made = [(torch.randn(ROWS, WIDTH), targets()) for _ in range(BATCHES)]
        made[-1] = made[-1][0][: ROWS // 3], made[-1][1][: ROWS // 3]
        return [(x.to(self.device), y.to(self.device)) for x, y in made]

    def train(self, batches: list[Batch], step: Callable[[Any, Any], Any], update: Any = None) -> list[float]:
        """Train, and return how many items each batch has.

        What `update` does after `step` may wait for the device, as GradScaler's step does.
        """
        for epoch in range(EPOCHS):
            if self.run is not None:
                self.run.epoch = epoch
            for number, (x, y) in enumerate(batches):
                is_warm = number >= WARM_UP or epoch > 0
                with no_waiting(self.device) if is_warm else nullcontext():
                    torch.compiler.cudagraph_mark_step_begin()
                    began = time.perf_counter()
                    loss = step(x, y)
                    self.seen["train"].append(loss.detach().clone())
                    if is_warm:
                        self.step_s.append(time.perf_counter() - began)
                (update or self.update)(loss)
        return [float(len(y)) for _, y in batches]

    def update(self, loss: torch.Tensor) -> None:
        """Go one step of plain SGD."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()


@contextmanager
def no_waiting(device: torch.device) -> Iterator[None]:
    """Make it an error to wait for the device; on the CPU there is nothing to wait for."""
    if device.type != "cuda":
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def ignored_classes() -> torch.Tensor:
    targets = torch.randint(0, CLASSES, (ROWS,))
    targets[:5] = IGNORED
    return targets


def class_weight(targets: torch.Tensor) -> float:
    weights = torch.tensor(CLASS_WEIGHTS)
    return float(weights[targets[targets != IGNORED].cpu()].double().sum())


def weighted_cross_entropy(loop: Loop) -> list[float]:
    """Class weights and ignored targets: the weight is on the device, too."""
    weight = torch.tensor(CLASS_WEIGHTS, device=loop.device)
    loss = loop.watch(nn.CrossEntropyLoss(weight, ignore_index=IGNORED))
    batches = loop.batches(ignored_classes)
    loop.train(batches, lambda x, y: loss(loop.net(x), y))
    return [class_weight(y) for _, y in batches]


def squared_error(loop: Loop) -> list[float]:
    loss = loop.watch(nn.MSELoss())
    batches = loop.batches(lambda: torch.randn(ROWS, CLASSES))
    loop.train(batches, lambda x, y: loss(loop.net(x), y))
    return [float(y.numel()) for _, y in batches]


def changed_in_place(loop: Loop) -> list[float]:
    """The loss is divided in place right after it was seen: what was seen counts."""
    loss = loop.watch(nn.CrossEntropyLoss())

    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        value = loss(loop.net(x), y)
        loop.seen["train"].append(value.detach().clone())
        value /= 4
        return value

    items = loop.train(loop.batches(), step)
    del loop.seen["train"][1::2]  # what `train` kept: the divided ones
    return items


def mixed_precision(loop: Loop) -> list[float]:
    loss = loop.watch(nn.CrossEntropyLoss())
    kind = torch.float16 if loop.device.type == "cuda" else torch.bfloat16
    scaler = torch.amp.GradScaler(loop.device.type, enabled=loop.device.type == "cuda")

    def step(x: torch.Tensor, y: torch.Tensor) -> Any:
        with torch.autocast(loop.device.type, kind):
            return loss(loop.net(x), y)

    def update(value: Any) -> None:
        loop.optimizer.zero_grad(set_to_none=True)
        scaler.scale(value).backward()
        scaler.step(loop.optimizer)
        scaler.update()

    return loop.train(loop.batches(), step, update)


def validation(loop: Loop) -> list[float]:
    """A pass without gradients after each epoch, in inference mode."""
    loss = loop.watch(nn.CrossEntropyLoss())
    batches = loop.batches()
    held_out = loop.batches()

    def update(value: Any) -> None:
        loop.update(value)
        if len(loop.seen["train"]) % BATCHES == 0:
            with no_waiting(loop.device), torch.inference_mode():
                for x, y in held_out:
                    loop.seen["val"].append(loss(loop.net(x), y))

    return loop.train(batches, lambda x, y: loss(loop.net(x), y), update)


def other_stream(loop: Loop) -> list[float]:
    """Every other step runs in a stream of its own, behind work that takes a while."""
    loss = loop.watch(nn.CrossEntropyLoss())
    is_cuda = loop.device.type == "cuda"
    streams = cycle([torch.cuda.Stream(loop.device) for _ in range(2)] if is_cuda else [None])
    ballast = torch.randn(2000 if is_cuda else 10, 2000 if is_cuda else 10, device=loop.device)

    def step(x: torch.Tensor, y: torch.Tensor) -> Any:
        stream: Any = next(streams)
        if stream is None:
            return loss(loop.net(x), y)
        stream.wait_stream(torch.cuda.current_stream(loop.device))
        with torch.cuda.stream(stream):
            (ballast @ ballast).sum()
            value = loss(loop.net(x), y)
        torch.cuda.current_stream(loop.device).wait_stream(stream)
        return value

    return loop.train(loop.batches(), step)


def compiled_model(loop: Loop, **options: Any) -> list[float]:
    """Only the model is compiled; the loss is called outside."""
    net = compiled(loop.net, loop.device, **options)
    loss = loop.watch(nn.CrossEntropyLoss())
    return loop.train(loop.batches(), lambda x, y: loss(net(x), y))


def compiled_step(loop: Loop, **options: Any) -> list[float]:
    """Model and loss are one graph without a break."""
    loss = loop.watch(nn.CrossEntropyLoss())
    step = compiled(lambda x, y: loss(loop.net(x), y), loop.device, **options)
    return loop.train(loop.batches(), step)


def reduced_overhead_model(loop: Loop) -> list[float]:
    return compiled_model(loop, mode="reduce-overhead")


def reduced_overhead_step(loop: Loop) -> list[float]:
    return compiled_step(loop, mode="reduce-overhead")


def compiled(function: Any, device: torch.device, **options: Any) -> Any:
    """Compile into one graph; on the CPU without a code generator, so that no compiler is needed."""
    options = options if device.type == "cuda" else {"backend": "aot_eager"}
    return torch.compile(function, fullgraph=True, **options)


SCENES = (
    weighted_cross_entropy,
    squared_error,
    changed_in_place,
    mixed_precision,
    validation,
    other_stream,
    compiled_model,
    compiled_step,
    reduced_overhead_model,
    reduced_overhead_step,
)


def check(scene: Callable[[Loop], list[float]], device: torch.device, folder: Path) -> tuple[float, float]:
    """Run a loop watched and alone; return the median seconds of the forward half of a step in both."""
    torch.compiler.reset()
    loop = Loop(device, folder)
    weights = scene(loop)
    assert loop.run is not None
    loop.run.finish(deadline_s=60.0)
    assert loop.run._faults.counts() == {}
    (journal,) = (folder / "journal").iterdir()
    series = read_series(journal)
    records = [record for _, record in read_records(journal) if record is not None]
    for split in ("train", "val"):
        told = [record for record in records if series[record.series].name == f"{split}/loss"]
        told.sort(key=lambda record: (record.epoch, record.batch))
        seen = [value.double().item() for value in loop.seen[split]]
        assert [record.loss for record in told] == seen, split
        if told:
            assert [record.weight for record in told] == pytest.approx(weights * EPOCHS, rel=1e-12)
            places = [(epoch, batch) for epoch in range(EPOCHS) for batch in range(BATCHES)]
            assert [(record.epoch, record.batch) for record in told] == places
    torch.compiler.reset()
    alone = Loop(device, folder, is_watched=False)
    scene(alone)
    return statistics.median(loop.step_s), statistics.median(alone.step_s)


@pytest.mark.filterwarnings("ignore")  # of torch while it compiles: which ones depends on the device
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_watching_never_waits_for_the_device_and_every_record_is_exact(scene: Any, tmp_path: Path) -> None:
    check(scene, torch.device("cuda", 0), tmp_path)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_devices_are_recorded_side_by_side(tmp_path: Path) -> None:
    for number in range(2):
        check(weighted_cross_entropy, torch.device("cuda", number), tmp_path / str(number))


def main() -> None:
    """Run every loop once and print what watching adds to the host's part of a step."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1 or cpu")
    device = torch.device(parser.parse_args().device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no CUDA device here; --device cpu runs the same loops without one")
    print(f"forward half of a step on {device}, host time, median: watched, alone, added")
    for scene in SCENES:
        with tempfile.TemporaryDirectory() as folder:
            watched, alone = check(scene, device, Path(folder))
        added = (watched - alone) * 1e6
        print(f"{scene.__name__:24} {watched * 1e6:8.1f} {alone * 1e6:8.1f} {added:+8.1f} µs")


if __name__ == "__main__":
    main()
