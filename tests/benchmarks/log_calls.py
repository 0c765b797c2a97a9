"""Time inside one call of `log`, flat out and at 5 ms pace, beside a floor of the same run and peers.

The floor is what no journal can go below: pack a 64-byte record with its CRC and `os.write` it. Ours and
the floor take turns in blocks, so that both see the same machine.
"""

import importlib.util
import os
import struct
import tempfile
import time
import zlib
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path

from figures import Figure, quantile, report, size, spread

import lossboard
from processes import running_service

FLAT_OUT_CALLS = 100_000
PACED_CALLS = 5_000
PACE_S = 0.005
BLOCKS = 10

Call = Callable[[int], object]
RECORD = struct.Struct("<iqdddiIHHQ")  # 60 bytes; the CRC before them makes 64


def main() -> None:
    """Measure ours against the floor with a service running, then the peers that are installed."""
    with tempfile.TemporaryDirectory() as name, running_service(Path(name)) as service:
        run = lossboard.init(project="bench", url=service.url, token=service.token, dir=name)

        def log(i: int) -> None:
            run.log(i // 1000, i % 1000, 0.25, 32)

        contenders: dict[str, Call] = {"log": log, "floor (os.write)": make_floor(Path(name) / "floor")}
        report_turns("flat out", contenders, size(FLAT_OUT_CALLS), 0.0)
        report_turns("5 ms pace", contenders, size(PACED_CALLS), PACE_S)
        run.finish()
    for peer, make in PEERS.items():
        if importlib.util.find_spec(peer) is not None:
            with tempfile.TemporaryDirectory() as name:
                report_turns("flat out", {peer: make(Path(name))}, size(FLAT_OUT_CALLS), 0.0)
                report_turns("5 ms pace", {peer: make(Path(name))}, size(PACED_CALLS), PACE_S)


def report_turns(how: str, contenders: dict[str, Call], calls: int, pause_s: float) -> None:
    """Let the contenders take turns in blocks and report the spread of each, and the ratio of two."""
    times = {name: array("q") for name in contenders}
    block = max(1, calls // BLOCKS)
    for first in range(0, calls, block):
        for name, call in contenders.items():
            times[name].extend(time_calls(call, range(first, min(calls, first + block)), pause_s))
    for name, values in times.items():
        report(spread(f"{name}, {how}", values))
    if len(contenders) == 2:
        ours, floor = (quantile(values, 0.5) for values in times.values())
        report([Figure(f"log beside its floor, {how}, p50", ours / floor, "×")])


def time_calls(call: Call, numbers: Sequence[int], pause_s: float) -> Sequence[int]:
    """Time each call by itself, in ns."""
    times = array("q", bytes(8 * len(numbers)))
    clock = time.perf_counter_ns
    for i, number in enumerate(numbers):
        if pause_s:
            time.sleep(pause_s)
        begin = clock()
        call(number)
        times[i] = clock() - begin
    return times


def make_floor(path: Path) -> Call:
    """Return a call that appends one packed record with its CRC to a file."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    pack, crc, write, now = RECORD.pack, zlib.crc32, os.write, time.time
    head = struct.Struct("<I").pack

    def append(i: int) -> None:
        body = pack(i // 1000, i % 1000, 0.25, 32.0, now(), 32, 0, 0, 1, i)
        write(file, head(crc(body)) + body)

    return append


def make_tensorboard(folder: Path) -> Call:
    """Log the same three numbers with torch's SummaryWriter."""
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder))

    def log(i: int) -> None:
        writer.add_scalar("loss", 0.25, i)
        writer.add_scalar("epoch", i // 1000, i)
        writer.add_scalar("batch_size", 32, i)

    return log


def make_trackio(folder: Path) -> Call:
    """Log the same three numbers with trackio, locally."""
    os.environ["TRACKIO_DIR"] = str(folder)
    import trackio

    trackio.init(project="bench")
    return lambda i: trackio.log({"loss": 0.25, "epoch": i // 1000, "batch_size": 32})


def make_wandb(folder: Path) -> Call:
    """Log the same three numbers with wandb offline."""
    import wandb

    run = wandb.init(project="bench", mode="offline", dir=str(folder))
    return lambda i: run.log({"loss": 0.25, "epoch": i // 1000, "batch_size": 32})


PEERS: dict[str, Callable[[Path], Call]] = {
    "tensorboard": make_tensorboard,
    "trackio": make_trackio,
    "wandb": make_wandb,
}


if __name__ == "__main__":
    main()
