"""A real training of several gloo processes under DDP; each rank also writes its own list of losses.

    distributed.py FOLDER --world N --batch-size B [--by-torchrun]

Seven rows of uneven lengths: a DistributedSampler repeats one of them where N does not divide seven, and
the ranks hold unequal counts of tokens. FOLDER gets <rank>.jsonl: epoch, batch, loss, tokens, rows.
"""

import argparse
import json
import os
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import lossboard

ROWS, LENGTH, WORDS, EPOCHS = 7, 6, 11, 2
KEPT = (6, 1, 2, 5, 3, 1, 4)  # tokens of each row that count


def main() -> None:
    """Start the ranks, or be one of those that torchrun started."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--world", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--by-torchrun", action="store_true")
    options = parser.parse_args()
    if options.by_torchrun:
        dist.init_process_group("gloo")
        train(dist.get_rank(), dist.get_world_size(), options.folder, options.batch_size)
        dist.destroy_process_group()
        return
    mp.spawn(start_rank, (options.world, options.folder, options.batch_size), options.world)


def start_rank(rank: int, world: int, folder: Path, batch_size: int) -> None:
    """Be one rank, as scripts do that torch.multiprocessing starts: nothing in the environment tells it."""
    store = dist.FileStore(str(folder / "rendezvous"), world)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world)
    assert "RANK" not in os.environ
    train(rank, world, folder, batch_size)
    dist.destroy_process_group()


def train(rank: int, world: int, folder: Path, batch_size: int) -> None:
    """Train a small language model for two epochs."""
    generator = torch.Generator().manual_seed(1)
    words = torch.randint(0, WORDS, (ROWS, LENGTH), generator=generator)
    targets = words.roll(-1, 1)
    for row, kept in enumerate(KEPT):
        targets[row, kept:] = -100
    data = TensorDataset(words, targets)
    sampler = DistributedSampler(data, world, rank, shuffle=True, seed=3)
    loader = DataLoader(data, batch_size=batch_size, sampler=sampler)
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Embedding(WORDS, 8), torch.nn.Linear(8, WORDS))
    model = DistributedDataParallel(net)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    loss_func = torch.nn.CrossEntropyLoss()

    lossboard.watch(loss_func, loader)

    with open(folder / f"{rank}.jsonl", "w", encoding="utf-8") as own:
        for epoch in range(EPOCHS):
            sampler.set_epoch(epoch)
            for batch, (inputs, labels) in enumerate(loader):
                optimizer.zero_grad()
                loss = loss_func(model(inputs).transpose(1, 2), labels)
                tokens = int((labels != -100).sum())
                line = {"epoch": epoch, "batch": batch, "loss": loss.item(), "tokens": tokens}
                own.write(json.dumps(line | {"rows": len(labels)}) + "\n")
                loss.backward()
                optimizer.step()


if __name__ == "__main__":
    main()
