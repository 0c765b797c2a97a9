"""The denominator that torch keeps for its backward pass is taken where it is exact, and only there."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lossboard.meaning import targets
from lossboard.meaning.weights import find_rule

CLASSES = 5
CLASS_WEIGHTS = torch.tensor([0.2, 0.5, 1, 2, 3], dtype=torch.float64)


def make_batch(*shape: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Make logits that need gradients, and class targets of which some are ignored."""
    logits = torch.rand(shape[0], CLASSES, *shape[1:], dtype=dtype, requires_grad=True)
    target = torch.randint(0, CLASSES, shape)
    target[0] = -100
    return logits, target


def weigh(loss: Any, *args: Tensor) -> Any:
    """Return the weight that a call's gradients tell, and the one that its targets tell."""
    rule = find_rule(loss)
    assert rule is not None
    output = loss(*args)
    told, rows = rule.weigh(args, {}, output)
    counted, rows_counted = rule.weigh(args, {}, output.detach())
    assert rows == rows_counted
    return told, counted


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("weight", [None, CLASS_WEIGHTS])
@pytest.mark.parametrize("shape", [(2,), (9,), (200,), (4, 3), (2, 3, 4)])
def test_kept_denominator_is_the_counted_one(reduction: str, weight: Any, shape: tuple[int, ...]) -> None:
    loss = nn.CrossEntropyLoss(weight=weight, reduction=reduction)
    logits, target = make_batch(*shape)
    assert targets.kept_total(loss(logits, target)) is not None
    told, counted = weigh(loss, logits, target)
    assert float(told) == pytest.approx(float(counted), rel=1e-15)


def test_single_target_without_a_batch_is_weighed() -> None:
    logits, target = torch.rand(CLASSES, requires_grad=True), torch.tensor(3)
    told, counted = weigh(nn.NLLLoss(), logits, target)
    assert float(told) == float(counted) == 1


@pytest.mark.parametrize(
    ("loss", "dtype"),
    [
        (nn.CrossEntropyLoss(reduction="none"), torch.float64),
        (nn.CrossEntropyLoss(label_smoothing=0.1), torch.float64),
        (nn.CrossEntropyLoss(), torch.bfloat16),
    ],
)
def test_nothing_is_taken_where_it_would_not_be_exact(loss: Any, dtype: torch.dtype) -> None:
    logits, target = make_batch(300, dtype=dtype)
    assert targets.kept_total(loss(logits, target)) is None
    told, counted = weigh(loss, logits, target)
    assert float(told) == float(counted) == 299


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("weight", "items"), [(0.01, 200), (None, 258)])
def test_denominator_that_a_half_float_rounds_is_counted(
    dtype: torch.dtype, weight: float | None, items: int
) -> None:
    each = None if weight is None else torch.full((CLASSES,), weight, dtype=dtype)
    logits, target = make_batch(items, dtype=dtype)
    told, counted = weigh(nn.CrossEntropyLoss(weight=each), logits, target)
    assert float(told) == float(counted)


def test_saved_tensors_are_not_unpacked_under_a_script_s_hooks() -> None:
    unpacked = []

    def unpack(packed: Tensor) -> Tensor:
        unpacked.append(packed)
        return packed

    logits, target = make_batch(9)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, unpack):
        told, counted = weigh(nn.CrossEntropyLoss(), logits, target)
    assert float(told) == float(counted) == 8
    assert not unpacked


@pytest.mark.parametrize("ignored", [-100, 2])
@pytest.mark.parametrize("shape", [(7,), (targets.FEW_TARGETS,), (targets.FEW_TARGETS + 1,), (4, 5)])
@pytest.mark.parametrize("kind", [torch.int64, torch.int32, torch.uint8])
def test_few_targets_and_many_are_counted_alike(
    ignored: int, shape: tuple[int, ...], kind: torch.dtype
) -> None:
    target = (torch.arange(torch.Size(shape).numel()) % CLASSES).reshape(shape).to(kind)
    rule = find_rule(nn.CrossEntropyLoss(ignore_index=ignored))
    assert rule is not None
    weight, _ = rule.weigh((torch.rand(shape[0], CLASSES, *shape[1:]), target), {}, torch.tensor(0.5))
    assert int(weight) == int((target.long() != ignored).sum())
