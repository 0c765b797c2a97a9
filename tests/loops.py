"""Ordinary loops on the seed's eight items, for tests of what is watched in them."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

SEED_ITEMS = [4.0, 5.0, 2.0, 4.0, 3.0, 2.0, 3.0, 1.0]


class Absolute(nn.Module):
    """A model whose L1 loss against 0 is the item itself, with a parameter that never moves."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.scale * x


def seed_loader(batch_size, **options):
    """Load the seed's eight items."""
    return DataLoader(TensorDataset(torch.tensor(SEED_ITEMS)), batch_size=batch_size, **options)


def loss_of(loss_func, model, x):
    """Compare the model's answer with 0."""
    return loss_func(model(x), torch.zeros_like(x))


def train(loss_func, loader, model=None, epochs=1):
    """An ordinary loop, at learning rate 0."""
    model = model or Absolute()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    for _epoch in range(epochs):
        for (x,) in loader:
            optimizer.zero_grad()
            loss = loss_of(loss_func, model, x)
            loss.backward()
            optimizer.step()


def validate(loss_func, loader, model=None):
    """Run the loss over a loader without gradients."""
    with torch.no_grad():
        for (x,) in loader:
            loss_of(loss_func, model or Absolute(), x)


def warnings_in(caplog):
    """What the logger `lossboard` was told."""
    return [record.getMessage() for record in caplog.records if record.name == "lossboard"]
