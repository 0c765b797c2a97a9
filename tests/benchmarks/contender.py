"""One contender of `log_calls`, in a process of its own: it waits for its turns and times each of its calls.

All record the same numbers a call: the loss, and where it belongs. The floor is what no journal can go below:
pack a 64-byte record with its CRC and `os.write` it.
"""

import json
import os
import struct
import sys
import time
import zlib
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Final

PACE_S: Final = 0.005
RECORD: Final = struct.Struct("<iqdddiIIHHQ")  # 60 bytes; the CRC before them makes 64

Call = Callable[[int], object]
Contender = tuple[Call, Callable[[], object]]


def main(name: str, folder: str) -> None:
    """Take turns, a line each, until there are no more: [first call, calls, how to wait between them]."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # peers print
    call, finish = MAKERS[name](Path(folder))
    waits: dict[str, Callable[[], object] | None] = {"": None, "asleep": lambda: time.sleep(PACE_S)}
    for line in sys.stdin:
        first, calls, how = json.loads(line)
        if how == "training" and how not in waits:
            waits[how] = make_training()
        times = time_calls(call, range(first, first + calls), waits[how])
        answers.write(times.tobytes())
        answers.flush()
    finish()


def time_calls(call: Call, numbers: range, wait: Callable[[], object] | None) -> "array[int]":
    """Time each call by itself, in ns."""
    times = array("q", bytes(8 * len(numbers)))
    clock = time.perf_counter_ns
    for i, number in enumerate(numbers):
        if wait is not None:
            wait()
        begin = clock()
        call(number)
        times[i] = clock() - begin
    return times


def make_training() -> Callable[[], object]:
    """Return what trains a small model for 5 ms on one thread: the core stays awake, its caches are used."""
    import torch

    torch.set_num_threads(1)
    net = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3)
    inputs, targets = torch.randn(32, 64), torch.randint(10, (32,))

    def train() -> None:
        until = time.perf_counter() + PACE_S
        while time.perf_counter() < until:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(inputs), targets).backward()
            optimizer.step()

    return train


def make_lossboard(folder: Path) -> Contender:
    """Log with a service that takes the records meanwhile."""
    import lossboard

    run = lossboard.init(project="bench")
    return lambda i: run.log(i // 1000, i % 1000, 0.25, 32), run.finish


def make_floor(folder: Path) -> Contender:
    """Append one packed record with its CRC to a file."""
    file = os.open(folder / "floor", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    pack, crc, write, now = RECORD.pack, zlib.crc32, os.write, time.time
    head = struct.Struct("<I").pack

    def append(i: int) -> None:
        body = pack(i // 1000, i % 1000, 0.25, 32.0, now(), 32, 0, 0, 0, 1, i)
        write(file, head(crc(body)) + body)

    return append, lambda: os.close(file)


def make_tensorboard(folder: Path) -> Contender:
    """Log with torch's SummaryWriter, which takes one number a call."""
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder))

    def log(i: int) -> None:
        writer.add_scalar("loss", 0.25, i)
        writer.add_scalar("epoch", i // 1000, i)
        writer.add_scalar("batch_size", 32, i)

    return log, writer.close


def make_trackio(folder: Path) -> Contender:
    """Log with trackio, locally."""
    os.environ["TRACKIO_DIR"] = str(folder)
    import trackio

    trackio.init(project="bench")
    return lambda i: trackio.log({"loss": 0.25, "epoch": i // 1000, "batch_size": 32}), trackio.finish


def make_wandb(folder: Path) -> Contender:
    """Log with wandb, offline."""
    import wandb

    run = wandb.init(project="bench", mode="offline", dir=str(folder))
    return lambda i: run.log({"loss": 0.25, "epoch": i // 1000, "batch_size": 32}), run.finish


MAKERS: Final[dict[str, Callable[[Path], Contender]]] = {
    "lossboard": make_lossboard,
    "floor": make_floor,
    "TensorBoard": make_tensorboard,
    "trackio": make_trackio,
    "wandb": make_wandb,
}


if __name__ == "__main__":
    main(*sys.argv[1:])
