"""Σ weight × loss ÷ Σ weight over any uneven batching is torch's own loss of all the data."""

import random

import pytest
import torch
from torch import nn

from lossboard.weights import broadcast, operands, rule_for, weigh

ROUNDS = 12
CLASSES = 5


def uneven(n, rng):
    """Cut n items into batches of unequal sizes."""
    cuts = sorted(rng.sample(range(1, n), rng.randint(1, min(4, n - 1))))
    return list(zip([0, *cuts], [*cuts, n], strict=True))


def class_targets(shape, generator, ignore=None):
    target = torch.randint(0, CLASSES, shape, generator=generator)
    if ignore is not None:
        target[torch.rand(shape, generator=generator) < 0.3] = ignore
    return target


def soft_targets(shape, generator):
    return torch.rand(shape, generator=generator, dtype=torch.float64).softmax(1)


def class_weights(generator):
    return torch.rand(CLASSES, generator=generator, dtype=torch.float64) + 0.1


def cross_entropy(shape, *, ignore=None, weighted=False, smoothing=0.0, soft=False, kind=nn.CrossEntropyLoss):
    def make(n, g):
        options = {"weight": class_weights(g)} if weighted else {}
        if ignore is not None:
            options["ignore_index"] = ignore
        if smoothing:
            options["label_smoothing"] = smoothing
        full = (n, CLASSES, *shape)
        logits = torch.randn(full, generator=g, dtype=torch.float64)
        if kind is nn.NLLLoss:
            logits = logits.log_softmax(1)
        target = soft_targets(full, g) if soft else class_targets((n, *shape), g, ignore)
        return lambda reduction: kind(reduction=reduction, **options), logits, target

    return make


def elementwise(kind, shape, target_shape=None):
    def make(n, g):
        input = torch.rand((n, *shape), generator=g, dtype=torch.float64)  # noqa: A001
        size = (n, *(shape if target_shape is None else target_shape))
        return lambda reduction: kind(reduction=reduction), input, torch.rand(size, generator=g).double()

    return make


def with_pos_weight(n, g):
    factors = torch.tensor([2.0, 0.5, 3.0], dtype=torch.float64)
    input = torch.randn(n, 3, generator=g, dtype=torch.float64)  # noqa: A001
    target = torch.rand(n, 3, generator=g).double()
    return (
        lambda reduction: nn.BCEWithLogitsLoss(weight=factors, pos_weight=factors, reduction=reduction),
        input,
        target,
    )


CASES = {
    "ce": (cross_entropy(()), "items"),
    "ce ignoring": (cross_entropy((), ignore=-100), "items"),
    "ce ignoring a class": (cross_entropy((), ignore=2), "items"),
    "ce weighted": (cross_entropy((), weighted=True), "class_weight"),
    "ce weighted ignoring smoothed": (
        cross_entropy((), weighted=True, ignore=-100, smoothing=0.2),
        "class_weight",
    ),
    "ce tokens": (cross_entropy((4,), ignore=-100), "tokens"),
    "ce pixels weighted": (cross_entropy((2, 3), ignore=1, weighted=True), "class_weight"),
    "ce smoothed": (cross_entropy((4,), smoothing=0.1), "tokens"),
    "ce soft": (cross_entropy((), soft=True), "items"),
    "ce soft weighted": (cross_entropy((3,), soft=True, weighted=True, smoothing=0.1), "tokens"),
    "nll": (cross_entropy((), kind=nn.NLLLoss), "items"),
    "nll 2d weighted": (
        cross_entropy((2, 2), kind=nn.NLLLoss, weighted=True, ignore=-100),
        "class_weight",
    ),
    "mse": (elementwise(nn.MSELoss, ()), "items"),
    "mse column": (elementwise(nn.MSELoss, (1,)), "items"),
    "mse matrix": (elementwise(nn.MSELoss, (3, 2)), "elements"),
    "l1": (elementwise(nn.L1Loss, (3,)), "elements"),
    "bce": (elementwise(nn.BCELoss, (2,)), "elements"),
    "bce logits": (elementwise(nn.BCEWithLogitsLoss, ()), "items"),
    "bce logits weighted": (with_pos_weight, "elements"),
}


@pytest.mark.parametrize("name", CASES)
def test_weighted_mean_over_uneven_batches_is_the_loss_of_all_data(name):
    make, unit = CASES[name]
    rng = random.Random(name)
    for round_no in range(ROUNDS):
        n = rng.randint(3, 17)
        make_loss, input, target = make(n, torch.Generator().manual_seed(round_no))  # noqa: A001
        mean, total = make_loss("mean"), make_loss("sum")
        pooled = mean(input, target).item()
        top = bottom = summed = 0.0
        for begin, end in uneven(n, rng):
            part = input[begin:end], target[begin:end]
            output = mean(*part)
            weight = weigh(mean, part, {}, output)
            assert weight.items == end - begin
            assert (weight.unit, weight.source) == (unit, "exact")
            if float(weight.weight):  # a batch whose targets are all ignored measures nothing
                top += output.item() * float(weight.weight)
                bottom += float(weight.weight)
            else:
                assert output.isnan()
            output = total(*part)
            assert float(weigh(total, part, {}, output).weight) == float(weight.weight)
            summed += output.item()
        if bottom:
            assert top / bottom == pytest.approx(pooled, rel=1e-12, abs=1e-14)
            assert summed / bottom == pytest.approx(pooled, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("kind", [nn.MSELoss, nn.L1Loss])
@pytest.mark.parametrize(
    ("input_shape", "target_shape", "expected"),
    [((3, 1), (3,), 9), ((4, 2), (2,), 8), ((), (), 1), ((4,), (), 4)],
)
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_broadcast_operands_are_weighed_by_their_common_shape(kind, input_shape, target_shape, expected):
    input, target = torch.rand(input_shape).double(), torch.rand(target_shape).double()  # noqa: A001
    mean, total = kind()(input, target), kind(reduction="sum")(input, target)
    assert weigh(kind(), (input, target), {}, mean).weight == expected
    assert total.item() / mean.item() == pytest.approx(expected, rel=1e-12)


def test_unbatched_input_is_one_item():
    logits, loss = torch.randn(CLASSES), nn.CrossEntropyLoss()
    hard, soft = torch.tensor(1), torch.rand(CLASSES).softmax(0)
    for target in (hard, soft):
        weight = weigh(loss, (logits, target), {}, loss(logits, target))
        assert (float(weight.weight), weight.items, weight.unit) == (1, 1, "items")


@pytest.mark.parametrize("weighted", [False, True])
def test_batch_without_a_valid_target_has_weight_zero(weighted):
    loss = nn.CrossEntropyLoss(weight=torch.ones(CLASSES) if weighted else None)
    for n in (0, 3):
        operands = torch.randn(n, CLASSES), torch.full((n,), -100)
        output = loss(*operands)
        weight = weigh(loss, operands, {}, output)
        assert float(weight.weight) == 0
        assert weight.items == n
        assert output.isnan()


def test_empty_batches_have_weight_zero():
    empty = torch.rand(0, 3)
    for loss in (nn.MSELoss(), nn.BCELoss(), nn.CrossEntropyLoss()):
        assert float(weigh(loss, (empty, empty), {}, torch.tensor(float("nan"))).weight) == 0


def test_float32_class_weights_are_summed_in_float64():
    loss = nn.CrossEntropyLoss(weight=torch.tensor([0.1, 2.0**24]))
    target = torch.tensor([1, *[0] * 1000])
    weight = weigh(loss, (torch.zeros(1001, 2), target), {}, torch.tensor(0.0))
    assert float(weight.weight) == pytest.approx(2.0**24 + 1000 * float(torch.tensor(0.1)), rel=1e-15)


class Focal(nn.CrossEntropyLoss):
    def forward(self, input, target):  # noqa: A002
        return super().forward(input, target) ** 2


class Renamed(nn.CrossEntropyLoss):
    pass


def test_subclass_with_a_forward_of_its_own_is_not_exact():
    assert rule_for(Focal()) is None
    assert rule_for(Renamed()) is rule_for(nn.CrossEntropyLoss())
    assert rule_for(nn.SmoothL1Loss()) is None
    assert rule_for(torch.nn.functional.mse_loss) is None


def test_arguments_are_found_by_position_and_by_name():
    assert operands((1, 2), {}) == operands((1,), {"target": 2}) == operands((), {"input": 1, "target": 2})


def test_loss_that_is_not_reduced_is_not_weighed():
    loss, x = nn.MSELoss(reduction="none"), torch.rand(3)
    assert weigh(loss, (x, x), {}, loss(x, x)) is None


@pytest.mark.parametrize(
    ("a", "b"), [((3, 1), (3,)), ((0, 3), (1, 3)), ((2, 1, 4), (5, 1)), ((), (2,)), ((1,), (0,))]
)
def test_broadcast_shape_is_torchs_own(a, b):
    assert broadcast(a, b) == tuple(torch.broadcast_shapes(a, b))
