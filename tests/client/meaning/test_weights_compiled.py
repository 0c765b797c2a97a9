"""Weighing within torch.compile: one graph, no break, for the losses that most scripts train with."""

import functools
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lossboard.meaning.weights import find_rule

CLASSES = 5
CLASS_WEIGHTS = torch.tensor([1.0, 2, 4, 8, 16])


def class_targets(n: int) -> Tensor:
    target = torch.arange(n) % CLASSES
    target[0] = -100
    return target


def soft_targets(n: int) -> Tensor:
    return torch.rand(n, CLASSES).softmax(1)


@pytest.fixture(autouse=True)
def _compiler_forgets() -> Any:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize(
    ("loss", "targets"),
    [
        (nn.CrossEntropyLoss(), class_targets),
        (nn.CrossEntropyLoss(weight=CLASS_WEIGHTS), class_targets),
        (nn.CrossEntropyLoss(reduction="none"), class_targets),
        (nn.CrossEntropyLoss(weight=CLASS_WEIGHTS), soft_targets),
        (nn.NLLLoss(ignore_index=2, reduction="sum"), lambda n: class_targets(n).abs() % CLASSES),
        (nn.MSELoss(), soft_targets),
        (nn.SmoothL1Loss(), soft_targets),
        (nn.KLDivLoss(reduction="batchmean"), soft_targets),
        (nn.BCEWithLogitsLoss(pos_weight=CLASS_WEIGHTS), soft_targets),
        (nn.MultiLabelSoftMarginLoss(), soft_targets),
        (functional.cross_entropy, class_targets),
        (functional.mse_loss, soft_targets),
        (functools.partial(functional.cross_entropy, weight=CLASS_WEIGHTS, reduction="sum"), class_targets),
    ],
)
def test_weighing_traces_without_a_graph_break(loss: Any, targets: Any) -> None:
    rule = find_rule(loss)
    assert rule is not None

    def step(input: Tensor, target: Tensor, **told: Any) -> Any:  # noqa: A002
        output = loss(input, target, **told)
        args = input, target
        weight, rows = rule.weigh(args, told, output)
        # As a hook leaves it: numbers become tensors of the graph.
        row = torch.stack([torch.as_tensor(part, dtype=torch.float64) for part in (weight, rows)])
        return rule.value(output), row, rule.unit(args, told), rule.reduction(told, args)

    compiled = torch.compile(step, fullgraph=True, backend="eager")
    tolds: list[dict[str, Any]] = [{}]
    if not isinstance(loss, nn.Module):
        tolds.append({"reduction": "none"})
    for told in tolds:
        for n in (4, 7, 9):  # from the second size on the graph is traced with sizes that vary
            args = torch.rand(n, CLASSES).log_softmax(1), targets(n)
            value, row, unit, reduction = compiled(*args, **told)
            weight, rows = rule.weigh(args, told, loss(*args, **told))
            assert row.tolist() == [float(weight), rows]
            assert (unit, reduction) == (rule.unit(args, told), rule.reduction(told, args))
            assert torch.equal(value, loss(*args, **told))
