"""Every loss of torch, with data of many shapes that can be cut into batches anywhere."""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

CLASSES = 5
LABELS = torch.tensor([1.0, -1.0], dtype=torch.float64)


class Whole(NamedTuple):
    """An operand that is the same in each batch."""

    value: Any


class Along(NamedTuple):
    """An operand that is cut into batches along another dimension than the first."""

    value: Tensor
    dim: int


class Data(NamedTuple):
    """What a loss is called with, how it is made, and what each call is told by keyword."""

    args: tuple[Any, ...]
    options: Mapping[str, Any] = MappingProxyType({})
    told: Mapping[str, Any] = MappingProxyType({})


Make = Callable[[int, Generator], Data]  # data of n items


def part(value: Any, begin: int, end: int) -> Any:
    """Return the items begin to end of an operand."""
    if isinstance(value, Whole):
        return value.value
    tensor, dim = value if isinstance(value, Along) else (value, 0)
    return tensor.narrow(dim, begin, end - begin)


def rand(g: Generator, *shape: int) -> Tensor:
    return torch.rand(shape, generator=g, dtype=torch.float64)


def spread(g: Generator, *shape: int) -> Tensor:
    return rand(g, *shape).softmax(-1)


def signs(g: Generator, *shape: int) -> Tensor:
    return LABELS[torch.randint(0, 2, shape, generator=g)]


def classes(g: Generator, *shape: int, ignored: int | None = None) -> Tensor:
    target = torch.randint(0, CLASSES, shape, generator=g)
    return target if ignored is None else target.masked_fill(torch.rand(shape, generator=g) < 0.3, ignored)


def pair(*shape: int, target: Callable[..., Tensor] = rand, **options: Any) -> Make:
    """An input and a target of one shape."""
    return lambda n, g: Data((rand(g, n, *shape), target(g, n, *shape)), options)


def weighted(*shape: int) -> Make:
    """A weight for each element, told with each call."""
    return lambda n, g: Data(
        (rand(g, n, *shape), rand(g, n, *shape)), told={"weight": rand(g, n, *shape) + 0.1}
    )


def operands(*makers: Callable[[int, Generator], Any], **options: Any) -> Make:
    return lambda n, g: Data(tuple(maker(n, g) for maker in makers), options)


def vectors(*shape: int) -> Callable[[int, Generator], Tensor]:
    return lambda n, g: rand(g, n, *shape)


def whole(*shape: int) -> Callable[[int, Generator], Whole]:
    return lambda n, g: Whole(rand(g, *shape))


def labels(n: int, g: Generator) -> Tensor:
    return signs(g, n)


def one_label(*shape: int) -> Callable[[int, Generator], Whole]:
    return lambda n, g: Whole(torch.ones(shape, dtype=torch.float64))


def logits(*shape: int, with_weights: bool = False, kind: torch.dtype = torch.long, **options: Any) -> Make:
    """Logits and class indices, a third of them ignored; `kind` uint8: none, for −100 is no byte."""

    def make(n: int, g: Generator) -> Data:
        ignored = options.get("ignore_index", None if kind == torch.uint8 else -100)
        target = classes(g, n, *shape, ignored=ignored).to(kind)
        told = {**options, "weight": rand(g, CLASSES) + 0.1} if with_weights else options
        return Data((rand(g, n, CLASSES, *shape).log_softmax(1), target), told)

    return make


def probabilities(*shape: int, **options: Any) -> Make:
    """Logits and class probabilities, with class weights."""

    def make(n: int, g: Generator) -> Data:
        full = n, CLASSES, *shape
        return Data((rand(g, *full), rand(g, *full).softmax(1)), {**options, "weight": rand(g, CLASSES)})

    return make


def linear(*shape: int, with_matrix: bool = False, is_soft: bool = False, **options: Any) -> Make:
    """What logits are made of: the function is called with the matrix, the module made with its shape."""

    def make(n: int, g: Generator) -> Data:
        ignored = options.get("ignore_index", -100)
        target = rand(g, n, CLASSES, *shape).softmax(1) if is_soft else classes(g, n, *shape, ignored=ignored)
        told = {**options, "weight": rand(g, CLASSES) + 0.1}
        if with_matrix:
            return Data((rand(g, n, 4), Whole(rand(g, CLASSES, *shape, 4)), target), told)
        sizes = {"in_features": 4, "num_classes": CLASSES, "out_features": shape, "dtype": torch.float64}
        return Data((rand(g, n, 4), target), {**sizes, **told})

    return make


def adaptive(n: int, g: Generator) -> Data:
    sizes = {"in_features": 4, "n_classes": CLASSES, "cutoffs": [2, 3], "div_value": 1}
    return Data((rand(g, n, 4), classes(g, n)), {**sizes, "dtype": torch.float64})


def margins(n: int, g: Generator) -> Data:
    return Data((rand(g, n, CLASSES), classes(g, n)), {"weight": rand(g, CLASSES), "p": 2})


def label_lists(n: int, g: Generator) -> Data:
    target = torch.stack([torch.randperm(CLASSES, generator=g) for _ in range(n)])
    return Data((rand(g, n, CLASSES), target.masked_fill(target == 2, -1)))


def sequences(n: int, g: Generator) -> Data:
    """Nine steps for each of n sequences of 0 to 3 labels."""
    lengths = torch.randint(0, 4, (n,), generator=g)
    target = torch.randint(1, CLASSES, (n, 4), generator=g)
    return Data((Along(rand(g, 9, n, CLASSES).log_softmax(2), 1), target, torch.full((n,), 9), lengths))


FUNCTIONS = {
    "BCELoss": "binary_cross_entropy",
    "BCEWithLogitsLoss": "binary_cross_entropy_with_logits",
    "CosineEmbeddingLoss": "cosine_embedding_loss",
    "CrossEntropyLoss": "cross_entropy",
    "CTCLoss": "ctc_loss",
    "GaussianNLLLoss": "gaussian_nll_loss",
    "HingeEmbeddingLoss": "hinge_embedding_loss",
    "HuberLoss": "huber_loss",
    "KLDivLoss": "kl_div",
    "L1Loss": "l1_loss",
    "MarginRankingLoss": "margin_ranking_loss",
    "MSELoss": "mse_loss",
    "MultiLabelMarginLoss": "multilabel_margin_loss",
    "MultiLabelSoftMarginLoss": "multilabel_soft_margin_loss",
    "MultiMarginLoss": "multi_margin_loss",
    "NLLLoss": "nll_loss",
    "PoissonNLLLoss": "poisson_nll_loss",
    "SmoothL1Loss": "smooth_l1_loss",
    "SoftMarginLoss": "soft_margin_loss",
    "TripletMarginLoss": "triplet_margin_loss",
}

TWO_WEIGHTS = LABELS + 1.5
CHUNKS = nn.LinearCrossEntropyOptions(batch_chunk_size=2)

# By class, whose function is taken on the same data, or by function alone: the unit and the data.
CASES: dict[str, tuple[str, Make]] = {
    "AdaptiveLogSoftmaxWithLoss": ("items", adaptive),
    "BCELoss": ("elements", pair(2, weight=TWO_WEIGHTS)),
    "binary_cross_entropy weighing elements": ("items", weighted()),
    "BCEWithLogitsLoss": ("items", pair()),
    "BCEWithLogitsLoss weighted": ("elements", pair(2, weight=TWO_WEIGHTS, pos_weight=TWO_WEIGHTS)),
    "CosineEmbeddingLoss": ("items", operands(vectors(3), vectors(3), labels)),
    "CosineEmbeddingLoss of one target": ("items", operands(vectors(3), whole(1, 3), one_label(1))),
    "CrossEntropyLoss": ("items", logits()),
    "CrossEntropyLoss ignoring a class": ("items", logits(ignore_index=2)),
    "CrossEntropyLoss weighted": ("class_weight", logits(with_weights=True)),
    "CrossEntropyLoss weighted ignoring a class smoothed": (
        "class_weight",
        logits(with_weights=True, ignore_index=1, label_smoothing=0.2),
    ),
    "CrossEntropyLoss tokens": ("tokens", logits(4)),
    "CrossEntropyLoss tokens smoothed": ("tokens", logits(4, label_smoothing=0.1)),
    "CrossEntropyLoss pixels weighted": ("class_weight", logits(2, 3, with_weights=True)),
    "CrossEntropyLoss bytes": ("items", logits(kind=torch.uint8)),
    "CrossEntropyLoss bytes weighted": ("class_weight", logits(with_weights=True, kind=torch.uint8)),
    "CrossEntropyLoss soft": ("items", probabilities()),
    "CrossEntropyLoss soft tokens smoothed": ("tokens", probabilities(3, label_smoothing=0.1)),
    "CTCLoss": ("items", sequences),
    "GaussianNLLLoss": ("elements", operands(vectors(3), vectors(3), vectors(3))),
    "GaussianNLLLoss a variance a row": ("elements", operands(vectors(3), vectors(3), vectors(1))),
    "GaussianNLLLoss variances in rows": ("elements", operands(vectors(3, 2), vectors(3, 2), vectors(3))),
    "HingeEmbeddingLoss": ("elements", pair(2, target=signs, margin=0.5)),
    "HuberLoss": ("elements", pair(3, delta=0.3)),
    "huber_loss weighing elements": ("elements", weighted(3)),
    "KLDivLoss": ("elements", pair(4, target=spread)),
    "L1Loss": ("elements", pair(3)),
    "l1_loss weighing elements": ("class_weight", weighted(3)),
    "LinearCrossEntropyLoss": ("class_weight", linear()),
    "LinearCrossEntropyLoss ignoring in chunks": ("class_weight", linear(ignore_index=2, options=CHUNKS)),
    "LinearCrossEntropyLoss pixels": ("class_weight", linear(2)),
    "LinearCrossEntropyLoss soft": ("tokens", linear(2, is_soft=True)),
    "linear_cross_entropy": ("class_weight", linear(with_matrix=True)),
    "linear_cross_entropy pixels ignoring": ("class_weight", linear(2, with_matrix=True, ignore_index=3)),
    "linear_cross_entropy soft": ("tokens", linear(2, with_matrix=True, is_soft=True)),
    "MarginRankingLoss": ("items", operands(vectors(), vectors(), labels, margin=0.1)),
    "MarginRankingLoss each by each": (
        "elements",
        operands(vectors(1), whole(1, 4), one_label(1, 1), margin=0.5),
    ),
    "MSELoss": ("items", pair()),
    "MSELoss column": ("items", pair(1)),
    "MSELoss matrix": ("elements", pair(3, 2)),
    "MSELoss from a row": ("elements", operands(vectors(4), whole(4))),
    "MSELoss of one number": ("items", operands(whole(), vectors())),
    "mse_loss weighing elements": ("class_weight", weighted(3)),
    "MultiLabelMarginLoss": ("items", label_lists),
    "MultiLabelSoftMarginLoss": ("items", pair(2, weight=TWO_WEIGHTS)),
    "MultiLabelSoftMarginLoss of positions": ("tokens", pair(4, 2)),
    "MultiMarginLoss": ("items", margins),
    "NLLLoss": ("items", logits()),
    "NLLLoss tokens ignoring a class": ("tokens", logits(4, ignore_index=0)),
    "NLLLoss2d weighted": ("class_weight", logits(2, 2, with_weights=True)),
    "PoissonNLLLoss": ("elements", pair(2, full=True)),
    "SmoothL1Loss": ("elements", pair(3, beta=0.2)),
    "SoftMarginLoss": ("items", pair(target=signs)),
    "TripletMarginLoss": ("items", operands(vectors(3), vectors(3), vectors(3), swap=True)),
    "TripletMarginLoss in rows": ("tokens", operands(vectors(2, 3), vectors(2, 3), vectors(2, 3))),
    "TripletMarginLoss of one anchor": ("items", operands(whole(1, 3), vectors(3), vectors(3))),
    "TripletMarginWithDistanceLoss": ("tokens", operands(vectors(2, 3), vectors(2, 3), vectors(2, 3))),
}


def make_loss(name: str, data: Data, **reduction: Any) -> Any:
    """Make the loss of a case, a module or a partial of a function, with a reduction where it takes one."""
    if hasattr(functional, name):
        return functools.partial(getattr(functional, name), **data.options, **reduction)
    # The layers within a loss are the same for each reduction. torch.manual_seed took half of all time:
    # it notes a traceback for each kind of accelerator.
    torch.default_generator.manual_seed(0)
    return getattr(nn, name)(**data.options, **reduction)


def forms() -> dict[str, tuple[str, str, Make]]:
    """Return each case under each name that it goes by: (name of the loss, unit, data)."""
    found = {}
    for title, (unit, make) in CASES.items():
        name = title.split()[0]
        for form in (name, *([FUNCTIONS[name]] if name in FUNCTIONS else [])):
            found[title.replace(name, form)] = form, unit, make
    return found
