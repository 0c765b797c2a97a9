"""The demo's training script: an ordinary PyTorch loop to which two lines were added.

The two are `import lossboard` and `lossboard.watch(loss_func, train_ldr)`; without them it
trains the same. It reads scikit-learn's handwritten digits, which its package carries.
"""

import argparse

import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

import lossboard


def main() -> None:
    # Measured: 120 epochs at batch size 10 take 20 to 30 s on one of two cores, long enough to watch,
    # and both batch sizes end at the same loss per item. The dropout keeps that loss from reaching 0.
    parser = argparse.ArgumentParser(description="Train a small classifier of handwritten digits.")
    parser.add_argument("--batch-size", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=120)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    digits = load_digits()
    images = torch.tensor(digits.data, dtype=torch.float32) / 16
    labels = torch.tensor(digits.target)
    train_ldr = DataLoader(
        TensorDataset(images[:1440], labels[:1440]), batch_size=options.batch_size, shuffle=True
    )
    val_ldr = DataLoader(TensorDataset(images[1440:], labels[1440:]), batch_size=100)

    net = torch.nn.Sequential(
        torch.nn.Unflatten(1, (1, 8, 8)),
        torch.nn.Conv2d(1, 8, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Dropout2d(0.5),
        torch.nn.Conv2d(8, 8, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Dropout(0.5),
        torch.nn.Flatten(),
        torch.nn.Linear(128, 10),
    )
    loss_func = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.001)
    lossboard.watch(loss_func, train_ldr)

    max_epochs = options.epochs
    for epoch in range(max_epochs):
        epoch_loss = 0.0
        net.train()
        for inputs, targets in train_ldr:
            optimizer.zero_grad()
            loss_val = loss_func(net(inputs), targets)
            loss_val.backward()
            optimizer.step()
            epoch_loss += loss_val.item()  # sum of averages, as most scripts print it

        net.eval()
        with torch.no_grad():
            for inputs, targets in val_ldr:
                loss_func(net(inputs), targets)

        if epoch % 10 == 0 or epoch == max_epochs - 1:
            print(f"epoch = {epoch:4d}  loss = {epoch_loss:.4f}", flush=True)


if __name__ == "__main__":
    main()
