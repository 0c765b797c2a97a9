"""What `watch` adds to a training step: its hook in a real digits loop, in turns with an idle hook."""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from figures import Figure, report, size
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

import lossboard
from processes import running_service

EPOCHS = 100
Loop = tuple[torch.nn.Module, DataLoader[Any]]


def main() -> None:
    """Measure a small step (batch 10) and one that takes 2 ms and more."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name, running_service(Path(name)) as service:
        common = {"project": "bench", "url": service.url, "token": service.token, "dir": name}
        base, added = compare(hidden=32, batch_size=10, epochs=size(EPOCHS), common=common)
        report([Figure("digits step at batch size 10, a hook that does nothing", base, "µs")])
        report([Figure("watch adds to the digits step", added, "µs", 12.0)])
        base, added = compare(hidden=448, batch_size=60, epochs=size(EPOCHS), common=common)
        report([Figure("large step, a hook that does nothing", base, "µs")])
        report(
            [
                Figure("watch adds to the large step", added, "µs"),
                Figure("watch slows the large step by", 100 * added / base, "%", 1.0),
            ]
        )


def compare(*, hidden: int, batch_size: int, epochs: int, common: dict[str, str]) -> tuple[float, float]:
    """Train with both hooks in turns, epoch by epoch.

    Returns: µs of a step with the idle hook, and what ours adds, each a median over epochs.
    """
    torch.manual_seed(1)
    net = torch.nn.Sequential(
        torch.nn.Linear(64, hidden),
        torch.nn.ReLU(),
        torch.nn.Linear(hidden, hidden),
        torch.nn.ReLU(),
        torch.nn.Linear(hidden, 10),
    )
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    idle, watched = make_loop(batch_size), make_loop(batch_size)
    idle[0].register_forward_hook(lambda module, args, kwargs, output: None, with_kwargs=True)
    run = lossboard.watch(*watched, **common)
    times: dict[str, list[float]] = {"idle": [], "watched": []}
    for epoch in range(epochs + 1):
        turns = [("idle", idle), ("watched", watched)]
        for name, loop in turns if epoch % 2 else reversed(turns):
            times[name].append(time_epoch(net, optimizer, loop))
    run.finish()
    pairs = list(zip(times["idle"], times["watched"], strict=True))[1:]  # the first one warms up
    return statistics.median(a for a, _ in pairs), statistics.median(b - a for a, b in pairs)


def make_loop(batch_size: int) -> Loop:
    """Make a loss and a loader of the digits."""
    digits = load_digits()
    images = torch.tensor(digits.data[:1440], dtype=torch.float32) / 16
    data = TensorDataset(images, torch.tensor(digits.target[:1440]))
    return torch.nn.CrossEntropyLoss(), DataLoader(data, batch_size=batch_size)


def time_epoch(net: torch.nn.Module, optimizer: torch.optim.Optimizer, loop: Loop) -> float:
    """Train one epoch; returns µs for a step, the loader's share included."""
    loss_func, loader = loop
    begin = time.perf_counter()
    for inputs, targets in loader:
        optimizer.zero_grad()
        loss_func(net(inputs), targets).backward()
        optimizer.step()
    return (time.perf_counter() - begin) / len(loader) * 1e6


if __name__ == "__main__":
    main()
