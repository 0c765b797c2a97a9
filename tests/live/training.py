"""A real training, watched by two lines; it also writes each loss to a list of its own, to compare with.

    training.py LIST --epochs N --step-s S

The list gets one JSON line for each record: epoch, batch, loss, batch_size, split, and the unix time.
"""

import argparse
import json
import time

import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

import lossboard


def main() -> None:
    """Train a small classifier of scikit-learn's digits."""
    parser = argparse.ArgumentParser()
    parser.add_argument("list")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=10)
    parser.add_argument("--step-s", type=float, default=0.0, help="what a larger model would take more")
    options = parser.parse_args()

    torch.manual_seed(0)
    digits = load_digits()
    images = torch.tensor(digits.data, dtype=torch.float32) / 16
    labels = torch.tensor(digits.target)
    train_data = TensorDataset(images[:1435], labels[:1435])  # a short last batch
    train_ldr = DataLoader(train_data, batch_size=options.batch_size, shuffle=True)
    val_ldr = DataLoader(TensorDataset(images[1435:], labels[1435:]), batch_size=100)
    net = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
    loss_func = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    lossboard.watch(loss_func, train_ldr)

    with open(options.list, "w", encoding="utf-8", buffering=1) as own:
        for epoch in range(options.epochs):
            for batch, (inputs, targets) in enumerate(train_ldr):
                optimizer.zero_grad()
                loss = loss_func(net(inputs), targets)
                write_line(own, "train", epoch, batch, loss, len(targets))
                loss.backward()
                optimizer.step()
                time.sleep(options.step_s)
            with torch.no_grad():
                for batch, (inputs, targets) in enumerate(val_ldr):
                    write_line(own, "val", epoch, batch, loss_func(net(inputs), targets), len(targets))


def write_line(own, split, epoch, batch, loss, batch_size):
    """Write what the service must end up with."""
    record = {"split": split, "epoch": epoch, "batch": batch, "loss": loss.item(), "batch_size": batch_size}
    own.write(json.dumps(record | {"time_unix_s": time.time()}) + "\n")


if __name__ == "__main__":
    main()
