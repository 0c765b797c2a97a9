"""Time inside one call of `log`, flat out and at 5 ms pace, beside a floor of the same run and the peers."""

import os
import sys
import tempfile
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from figures import OURS, Figure, note, quantile, report, size
from peers import QUIET, Peer, prepare_peers
from turns import Turns, running

from processes import Service, clean_environment, running_service

FLOOR: Final = "floor"
BLOCKS: Final = 10
WARMING_CALLS: Final = 20  # of each turn, not counted: the others have used the caches meanwhile
RATIO_BUDGET: Final = 2.5

COMPARED: Final = (
    "log: the same three numbers a call (loss, epoch, batch size), our service running. TensorBoard takes one"
    " number a call, so three add_scalar; trackio.log and wandb.log get one dict. The floor packs 64 bytes"
    " with their CRC and os.write's them. Each is a process of its own; they take turns in 10 blocks, and"
    " each stands still while it is not its turn."
)


class Way(NamedTuple):
    """One way of calling: how often, what happens between the calls, and what we may take in µs."""

    title: str
    how: str
    calls: int
    budgets: Mapping[str, float]


# Asleep the core cools down and its caches are somebody else's, which the floor pays as well.
WAYS: Final = (
    Way("log flat out", "", 100_000, {"p50": 2, "p99": 10}),
    Way("log at 5 ms pace, asleep between", "asleep", 5_000, {"p50": 4, "p99": 20}),
    Way("log at 5 ms pace, training between", "training", 5_000, {"p50": 4, "p99": 20}),
)
SHARES: Final = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "max": 1.0}


def main() -> None:
    """Measure ours, the floor and the peers, in turns."""
    peers = [] if "--no-peers" in sys.argv else prepare_peers()
    with (
        tempfile.TemporaryDirectory() as name,
        running_service(Path(name) / "service") as service,
        running(start_contenders(Path(name), service, peers)) as started,
    ):
        contenders = list(started)
        for way in WAYS:
            report_way(way, contenders)
    note(COMPARED)
    if peers:
        note("Peers: " + ", ".join(f"{peer.name} {peer.version}" for peer in peers) + ".")


def start_contenders(folder: Path, service: Service, peers: list[Peer]) -> list[Turns]:
    """Start one process each."""
    python = Path(sys.executable)
    ours = {"LOSSBOARD_URL": service.url, "LOSSBOARD_TOKEN": service.token}
    environment = clean_environment(service.folder)
    paths = {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    contenders = [
        Turns(OURS, folder / OURS, python, environment | ours | paths),
        Turns(FLOOR, folder / FLOOR, python, environment),
    ]
    home = {"HOME": str(folder)}  # where peers keep settings and caches
    return contenders + [
        Turns(peer.name, folder / peer.name, peer.python, environment | QUIET | home) for peer in peers
    ]


def report_way(way: Way, contenders: list[Turns]) -> None:
    """Let the contenders take turns in blocks and report each one's quantiles and its ratio to the floor."""
    calls = size(way.calls)
    times = {contender.name: array("q") for contender in contenders}
    for block in range(BLOCKS):
        first, end = (calls * edge // BLOCKS for edge in (block, block + 1))
        for name, taken in take_turns(way.how, first, end - first, contenders).items():
            times[name] += taken
    measured = {contender.name: times[contender.name] for contender in contenders}
    for name, share in SHARES.items():
        for whose, values in measured.items():
            value = quantile(values, share) / 1e3
            report([Figure(f"{way.title}, {name}", value, "µs", way.budgets.get(name), whose)])
    floor = quantile(measured[FLOOR], 0.5)
    for whose, values in measured.items():
        ratio = quantile(values, 0.5) / floor
        if whose != FLOOR:
            report([Figure(f"{way.title}, p50 beside the floor's", ratio, "×", RATIO_BUDGET, whose)])


def take_turns(how: str, first: int, calls: int, contenders: list[Turns]) -> dict[str, "array[int]"]:
    """Let each make its calls; a peer that breaks is named and left out from then on."""
    taken = {}
    for contender in list(contenders):
        try:
            taken[contender.name] = contender.take(first, WARMING_CALLS + calls, how)[WARMING_CALLS:]
        except RuntimeError as error:
            if contender.name in (OURS, FLOOR):
                raise
            contenders.remove(contender)
            note(f"{contender.name} is left out, it does not run here: {str(error).splitlines()[-1]:.200}")
    return taken


if __name__ == "__main__":
    main()
