"""Σ weight × loss ÷ Σ weight over any uneven batching is torch's own loss of all the data, for every loss."""

import inspect
import math
import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules import loss as modules

import loss_cases
from lossboard.meaning.weights import Rule, find_rule

ROUNDS = 50
FORMS = loss_cases.forms()

pytestmark = [
    # What torch says about the cases that are meant here.
    pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss"),
    pytest.mark.filterwarnings("ignore:Using a target size"),
    pytest.mark.filterwarnings("ignore:`NLLLoss2d` has been deprecated"),
]


def uneven(n: int, rng: random.Random) -> Iterator[tuple[int, int]]:
    """Cut n items into batches of unequal sizes."""
    cuts = sorted(rng.sample(range(1, n), rng.randint(1, min(4, n - 1))))
    return zip([0, *cuts], [*cuts, n], strict=True)


class Measured:
    """Sums over the batches of one data set: weight, and the numerator by each reduction."""

    def __init__(self, name: str, data: loss_cases.Data, reduction: dict[str, str]) -> None:
        self.loss = loss_cases.make_loss(name, data, **reduction)
        rule = find_rule(self.loss)
        assert rule is not None
        self.rule: Rule = rule
        self.data = data
        self.weight = self.numerator = 0.0

    def call(self, begin: int, end: int) -> tuple[Any, Any, Any]:
        args = tuple(loss_cases.part(value, begin, end) for value in self.data.args)
        kwargs = {name: loss_cases.part(value, begin, end) for name, value in self.data.told.items()}
        return args, kwargs, self.loss(*args, **kwargs)

    def add(self, begin: int, end: int, unit: str) -> None:
        args, kwargs, output = self.call(begin, end)
        weight, rows = self.rule.weigh(args, kwargs, output)
        assert (rows, self.rule.unit(args, kwargs)) == (end - begin, unit)
        assert self.rule.broadcast(args, kwargs) is None
        value, weight = self.rule.value(output).detach(), float(weight)
        if self.rule.reduction(kwargs, args) != "mean":
            self.numerator += value.sum().item()
        elif weight:
            self.numerator += value.item() * weight
        else:
            assert math.isnan(value)  # all targets ignored: nothing measured
        self.weight += weight


@pytest.mark.parametrize("title", FORMS)
def test_weighted_mean_over_uneven_batches_is_the_loss_of_all_data(title: str) -> None:
    name, unit, make = FORMS[title]
    rng = random.Random(title)
    for round_no in range(ROUNDS):
        n = rng.randint(3, 17)
        data = make(n, torch.Generator().manual_seed(round_no))
        batches = list(uneven(n, rng))
        pooled = math.nan
        for reduction in ("mean", "sum", "none"):
            if reduction != "mean" and name == "AdaptiveLogSoftmaxWithLoss":
                continue  # knows no reductions
            told = {} if name == "AdaptiveLogSoftmaxWithLoss" else {"reduction": reduction}
            measured = Measured(name, data, told)
            assert measured.rule.reduction({}) == reduction
            if reduction == "mean":
                pooled = measured.rule.value(measured.call(0, n)[2]).item()
            elif reduction == "sum" and name in ("CTCLoss", "ctc_loss"):
                # Only its mean divides by the targets' lengths: its sum is of another quantity.
                pooled = measured.call(0, n)[2].item() / n
            for begin, end in batches:
                measured.add(begin, end, unit)
            if measured.weight:
                exact = measured.numerator / measured.weight
                assert exact == pytest.approx(pooled, rel=1e-12, abs=1e-14), (round_no, reduction)


@pytest.mark.parametrize("name", [*modules.__all__, "AdaptiveLogSoftmaxWithLoss"])
def test_every_loss_class_of_torch_is_tried(name: str) -> None:
    assert any(title.split()[0] == name for title in loss_cases.CASES)


def test_every_loss_function_of_torch_is_tried() -> None:
    reducing = {
        name
        for name, each in vars(functional).items()
        if inspect.isfunction(each) and "reduction" in inspect.signature(each).parameters
    }
    tried = {name for name, _unit, _make in FORMS.values() if hasattr(functional, name)}
    # It is told a function of the script with each call, which may do anything.
    assert reducing - tried == {"triplet_margin_with_distance_loss"}
    assert find_rule(functional.triplet_margin_with_distance_loss) is None


@pytest.mark.parametrize("is_function", [False, True])
def test_batchmean_is_a_mean_over_the_rows(is_function: bool) -> None:
    g = torch.Generator().manual_seed(3)
    loss: Any = nn.KLDivLoss(reduction="batchmean")
    told = {}
    if is_function:
        loss, told = functional.kl_div, {"reduction": "batchmean"}
    rule = find_rule(loss)
    assert rule is not None
    input, target = loss_cases.spread(g, 9, 2, 4).log(), loss_cases.spread(g, 9, 2, 4)  # noqa: A001
    top = bottom = 0.0
    for begin, end in ((0, 4), (4, 5), (5, 9)):
        args = input[begin:end], target[begin:end]
        weight, rows = rule.weigh(args, told, None)
        assert (weight, rows, rule.unit(args, told)) == (end - begin, end - begin, "items")
        top, bottom = top + loss(*args, **told).item() * weight, bottom + weight
    assert rule.reduction(told) == "mean"
    assert top / bottom == pytest.approx(loss(input, target, **told).item(), rel=1e-12)


FLAGS = [
    (True, None, "mean"),
    (False, True, "sum"),
    (None, False, "none"),
    (False, False, "none"),
]


def knows_flags(name: str) -> bool:
    """Whether a class knows them by its constructor, or a function by each call."""
    owner = getattr(functional, name, None) or getattr(nn, name).__init__
    return "size_average" in inspect.signature(owner).parameters


@pytest.mark.parametrize("title", [name for name in FORMS if " " not in name and knows_flags(name)])
@pytest.mark.parametrize(("size_average", "reduce", "reduction"), FLAGS)
@pytest.mark.filterwarnings("ignore:size_average and reduce args will be deprecated")
def test_old_flags_mean_what_torch_makes_of_them(
    title: str, size_average: bool | None, reduce: bool | None, reduction: str
) -> None:
    name, _unit, make = FORMS[title]
    data = make(7, torch.Generator().manual_seed(1))
    overruled = "sum" if reduction == "mean" else "mean"
    loss = loss_cases.make_loss(name, data, size_average=size_average, reduce=reduce, reduction=overruled)
    rule = find_rule(loss)
    assert rule is not None
    args = tuple(loss_cases.part(value, 0, 7) for value in data.args)
    output = loss(*args)
    assert rule.reduction({}, args) == reduction
    weight = float(rule.weigh(args, {}, output)[0])
    mean = loss_cases.make_loss(name, data)(*args).item()
    value = output.sum().item() / (1 if reduction == "mean" else weight)
    assert value == pytest.approx(mean, rel=1e-12)
