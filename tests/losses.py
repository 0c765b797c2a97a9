"""Losses of every kind that the probe knows a word for, with batches to try them on."""

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

from lossboard.meaning.probe import Finding, probe

CLASSES = 5
WEIGHTS = torch.tensor([0.2137, 1.0, 2.9173, 0.5311, 1.8719])  # rounder ones may balance in a small batch
REGULARISED = torch.nn.Linear(7, 5)


def vectors(n, g):
    return torch.randn(n, 3, generator=g), torch.randn(n, 3, generator=g)


def classes(n, g):
    return torch.randn(n, CLASSES, generator=g), torch.randint(0, CLASSES, (n,), generator=g)


def ignoring(n, g):
    logits, targets = classes(n, g)
    return logits, targets.masked_fill(torch.rand(n, generator=g) < 0.3, -100)


def masked(n, g):
    shape = (n, 6)
    return *(torch.rand(shape, generator=g) for _ in range(2)), (torch.rand(shape, generator=g) < 0.6).float()


def masked_by_ones(n, g):
    return *vectors(n, g), torch.ones(n, 3)


def pixels(n, g):
    return torch.randn(n, 4, 4, generator=g).sigmoid(), (torch.rand(n, 4, 4, generator=g) < 0.4).float()


def untrained(n, g):
    return torch.zeros(n, CLASSES), torch.randint(0, CLASSES, (n,), generator=g)


def halves(n, g):
    logits, targets = classes(n, g)
    return logits.bfloat16(), targets


def mse(output, target):
    return ((output - target) ** 2).mean()


def focal(output, target):
    each = F.cross_entropy(output, target, reduction="none")
    return ((1 - torch.exp(-each)) ** 2 * each).mean()


def regulariser(*_):
    return 0.1 * sum(parameter.square().sum() for parameter in REGULARISED.parameters())


def weighted(output, target):
    return F.cross_entropy(output, target, weight=WEIGHTS)


def masked_mean(output, target, mask):
    return ((output - target) ** 2 * mask).sum() / mask.sum()


def dice(output, target, smoothing=0.0):
    shared = (output * target).sum()
    return 1 - (2 * shared + smoothing) / (output.sum() + target.sum() + smoothing)


def infonce(a, b):
    a, b = F.normalize(a, dim=1), F.normalize(b, dim=1)
    return F.cross_entropy(a @ b.T / 0.1, torch.arange(len(a)))


# What it is → the loss, its arguments, the findings that are right
KINDS = {
    "mse": (mse, vectors, "mean"),
    "torch's mse": (F.mse_loss, vectors, "mean"),
    "mse of a module": (torch.nn.MSELoss(), vectors, "mean"),
    "cross-entropy": (F.cross_entropy, classes, "mean"),
    "cross-entropy of bfloat16": (F.cross_entropy, halves, "mean"),
    "cross-entropy in float32": (lambda o, t: F.cross_entropy(o.float(), t), classes, "mean"),
    "cross-entropy of equal logits": (F.cross_entropy, untrained, "mean"),
    "focal": (focal, classes, "mean"),
    "mean + regulariser": (lambda o, t: F.cross_entropy(o, t) + regulariser(), classes, "mean"),
    "class weights": (weighted, classes, "mean_weighted"),
    "class weights of equal logits": (weighted, untrained, "mean_weighted"),
    "masked": (masked_mean, masked, "mean_weighted"),
    "masked by ones": (masked_mean, masked_by_ones, "mean_weighted"),
    "dice": (dice, pixels, "mean_weighted"),
    "smoothed dice": (lambda o, t: dice(o, t, 1e-6), pixels, "mean_weighted"),
    "sum": (lambda o, t: ((o - t) ** 2).sum(), vectors, "sum"),
    "sum / 32": (lambda o, t: ((o - t) ** 2).sum() / 32, vectors, "sum"),
    "weighted sum": (lambda o, t: F.cross_entropy(o, t, WEIGHTS, reduction="sum"), classes, "sum"),
    "rmse": (lambda o, t: mse(o, t).sqrt(), vectors, "non_linear"),
    "log of a mean": (lambda o, t: mse(o, t).log(), vectors, "non_linear"),
    "perplexity": (lambda o, t: F.cross_entropy(o, t).exp(), classes, "non_linear"),
    "infonce": (infonce, vectors, "batch_coupled"),
    "maximum": (lambda o, t: (o - t).abs().amax(), vectors, "batch_coupled"),
    "minimum": (lambda o, t: (o - t).abs().amin(), vectors, "batch_coupled"),
    "sum + regulariser": (lambda o, t: ((o - t) ** 2).sum() + regulariser(), vectors, "batch_coupled"),
    "norm": (lambda o, t: (o - t).norm(), vectors, "batch_coupled"),
    "coarsely smoothed dice": (lambda o, t: dice(o, t, 1.0), pixels, "batch_coupled"),
    # No mean either way; which word is right depends on what the batch holds.
    "deviation": (lambda o, t: (o - t).std(), vectors, "batch_coupled non_linear"),
    "median": (lambda o, t: (o - t).abs().flatten().median(), vectors, "batch_coupled non_linear"),
    "broadcast by mistake": (lambda o, t: mse(o[:, :1], t[:, 0]), vectors, "batch_coupled non_linear"),
    "hardest quarter": (
        lambda o, t: (o - t).square().mean(1).topk(len(o) // 4).values.mean(),
        vectors,
        "batch_coupled non_linear mean_weighted",  # if by chance the hardest of all are those of the parts
    ),
    "regulariser": (regulariser, vectors, "constant"),
    "random": (lambda o, t: mse(F.dropout(o), t), vectors, "not_probed"),
}


def generator(seed):
    return torch.Generator().manual_seed(seed)


def ask(loss, *args, **kwargs) -> Finding:
    return probe(loss, args, kwargs)
