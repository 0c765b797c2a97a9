"""Which rule a loss has, how it reads a call, and what it says where nothing counts."""

import functools
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lossboard.meaning.weights import Rule, broadcast_shape, find_rule

CLASSES = 5
LOGITS = torch.arange(20, dtype=torch.float64).reshape(4, CLASSES).sin()
TARGET, VALID = torch.tensor([1, 0, -100, 2]), torch.tensor([1, 0, 0, 2])
CLASS_WEIGHTS = torch.tensor([1.0, 2, 4, 8, 16], dtype=torch.float64)
NAN = torch.tensor(float("nan"))


def rule_of(loss: Any) -> Rule:
    rule = find_rule(loss)
    assert rule is not None
    return rule


def weigh(loss: Any, args: tuple[Any, ...], output: Any = NAN) -> tuple[float, str, int]:
    """Return the weight of a call, what it counts, and the rows of the batch."""
    rule = rule_of(loss)
    weight, rows = rule.weigh(args, {}, output)
    return float(weight), rule.unit(args, {}), rows


class Focal(nn.CrossEntropyLoss):
    def forward(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: A002
        return super().forward(input, target) ** 2


class Renamed(nn.CrossEntropyLoss):
    pass


class NLLLoss(nn.Module):
    """Called as torch's own, and another thing."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: A002
        return (input - target).max()


@functools.wraps(functional.mse_loss)
def dressed_up(input: Tensor, target: Tensor) -> Tensor:  # noqa: A002
    return functional.mse_loss(input, target).sqrt()


@pytest.mark.parametrize(
    "loss",
    [
        Focal(),
        NLLLoss(),
        dressed_up,
        torch.compile(dressed_up, backend="eager"),
        functools.partial(dressed_up),
        lambda a, b: (a - b).mean(),
        torch.mean,
        nn.Linear(2, 2),
        nn.CrossEntropyLoss(reduction="median"),
        nn.MSELoss(reduction=None),  # type: ignore[arg-type]
        functools.partial(functional.mse_loss, reduction="median"),
        nn.TripletMarginWithDistanceLoss(distance_function=lambda a, b: (a - b).abs()),
        None,
    ],
)
def test_what_may_divide_by_anything_has_no_rule(loss: Any) -> None:
    assert find_rule(loss) is None


def test_forward_replaced_on_the_object_has_no_rule() -> None:
    loss = nn.MSELoss()
    loss.forward = lambda input, target: (input - target).max()  # type: ignore[method-assign]  # noqa: A006
    assert find_rule(loss) is None


@pytest.mark.parametrize(
    "loss",
    [
        Renamed(weight=CLASS_WEIGHTS),
        torch.compile(nn.CrossEntropyLoss(weight=CLASS_WEIGHTS), backend="eager"),
        functools.partial(functional.cross_entropy, weight=CLASS_WEIGHTS),
        torch.compile(functools.partial(functional.cross_entropy, weight=CLASS_WEIGHTS), backend="eager"),
        functools.partial(functools.partial(functional.cross_entropy, reduce=True), weight=CLASS_WEIGHTS),
        functools.partial(torch.compile(functional.cross_entropy, backend="eager"), weight=CLASS_WEIGHTS),
        functools.partial(nn.CrossEntropyLoss(weight=CLASS_WEIGHTS)),
        functools.partial(functional.cross_entropy, LOGITS, weight=CLASS_WEIGHTS),
        functools.partial(nn.CrossEntropyLoss(weight=CLASS_WEIGHTS), LOGITS),
    ],
)
def test_loss_is_found_behind_its_wrappers(loss: Any) -> None:
    is_bound = isinstance(loss, functools.partial) and loss.args
    args = (TARGET,) if is_bound else (LOGITS, TARGET)
    assert weigh(loss, args) == (2 + 1 + 4, "class_weight", 4)
    assert rule_of(loss).reduction({}, args) == "mean"


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(weight=CLASS_WEIGHTS), functional.cross_entropy])
def test_operands_are_found_by_position_and_by_name(loss: Any) -> None:
    rule = rule_of(loss)
    told = {} if isinstance(loss, nn.Module) else {"weight": CLASS_WEIGHTS}
    for args, kwargs in (
        ((LOGITS, TARGET), {}),
        ((LOGITS,), {"target": TARGET}),
        ((), {"target": TARGET, "input": LOGITS}),
    ):
        weight, rows = rule.weigh(args, {**kwargs, **told}, NAN)
        assert (weight.item(), rows, rule.unit(args, {**kwargs, **told})) == (7, 4, "class_weight")


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "weight", "reduction"),
    [
        (functional.cross_entropy, (LOGITS, TARGET, CLASS_WEIGHTS), {}, 7, "mean"),
        (functional.cross_entropy, (LOGITS, VALID, None, None, 0), {}, 2, "mean"),
        (functional.cross_entropy, (LOGITS, VALID), {"ignore_index": 0, "weight": CLASS_WEIGHTS}, 6, "mean"),
        (functional.nll_loss, (LOGITS, TARGET, None, False), {}, 3, "sum"),
        (functional.nll_loss, (LOGITS, TARGET, None, False), {"reduce": False}, 3, "none"),
        (functional.mse_loss, (LOGITS, LOGITS, None, None, "sum"), {}, 20, "sum"),
        (functional.mse_loss, (LOGITS, LOGITS), {"weight": LOGITS.abs() * 0 + 0.5}, 10, "mean"),
        (functional.huber_loss, (LOGITS, LOGITS, "none"), {"weight": LOGITS.abs() * 0 + 0.5}, 20, "none"),
        (functional.huber_loss, (LOGITS, LOGITS, "sum"), {}, 20, "sum"),
        (functional.kl_div, (LOGITS, LOGITS, None, None, "batchmean"), {}, 4, "mean"),
        (functional.kl_div, (LOGITS, LOGITS), {"reduction": "batchmean"}, 4, "mean"),
        (functional.gaussian_nll_loss, (LOGITS, LOGITS), {"var": 0.5, "reduction": "sum"}, 20, "sum"),
        (functional.l1_loss, (LOGITS, LOGITS), {"reduction": "elementwise_mean"}, 20, "mean"),
    ],
)
def test_options_of_a_call_are_found_by_position_and_by_name(
    function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], weight: float, reduction: str
) -> None:
    assert float(rule_of(function).weigh(args, kwargs, NAN)[0]) == weight
    assert rule_of(function).reduction(kwargs, args) == reduction


def test_call_overrules_what_a_partial_binds() -> None:
    rule = rule_of(functools.partial(functional.cross_entropy, weight=CLASS_WEIGHTS, reduction="sum"))
    assert (rule.reduction({}), rule.reduction({"reduction": "none"})) == ("sum", "none")
    assert float(rule.weigh((LOGITS, TARGET), {"weight": None}, NAN)[0]) == 3
    bound = rule_of(functools.partial(functional.huber_loss, LOGITS))
    assert bound.reduction({}, (LOGITS, "sum")) == "sum"


def test_module_is_asked_at_each_call() -> None:
    loss = nn.CrossEntropyLoss(weight=torch.ones(CLASSES))
    rule = rule_of(loss)
    loss.weight, loss.reduction = CLASS_WEIGHTS, "sum"
    assert (rule.weigh((LOGITS, TARGET), {}, NAN)[0].item(), rule.reduction({})) == (7, "sum")
    del loss.weight
    loss.weight = nn.Parameter(CLASS_WEIGHTS * 2)
    weight, _rows = rule.weigh((LOGITS, TARGET), {}, NAN)
    assert (weight.item(), weight.requires_grad) == (14, False)


def test_loss_is_taken_out_of_what_adaptive_softmax_returns() -> None:
    loss = nn.AdaptiveLogSoftmaxWithLoss(CLASSES, 6, [2, 4], 1.0)
    output = loss(LOGITS.float(), TARGET.abs() % 6)
    assert rule_of(loss).value(output) is output.loss
    assert rule_of(nn.MSELoss()).value(NAN) is NAN


@pytest.mark.parametrize(
    ("loss", "args"),
    [
        (nn.CrossEntropyLoss(), (LOGITS[0], TARGET[0])),
        (nn.CrossEntropyLoss(), (LOGITS[0], LOGITS[0].softmax(0))),
        (nn.MultiMarginLoss(), (LOGITS[0], TARGET[0])),
        (nn.MultiLabelMarginLoss(), (LOGITS[0], torch.tensor([1, -1, 0, 0, 0]))),
        (nn.MultiLabelSoftMarginLoss(), (LOGITS[0], LOGITS[0])),
        (nn.CosineEmbeddingLoss(), (LOGITS[0], LOGITS[1], torch.tensor(1))),
        (nn.TripletMarginLoss(), (LOGITS[0], LOGITS[1], LOGITS[2])),
        (nn.MSELoss(), (LOGITS[0, 0], LOGITS[0, 1])),
        (nn.KLDivLoss(reduction="batchmean"), (LOGITS[0, 0], LOGITS[0, 1])),
        (nn.CTCLoss(), (LOGITS.log_softmax(1), TARGET[:2], torch.tensor(4), torch.tensor(2))),
        (nn.AdaptiveLogSoftmaxWithLoss(CLASSES, 6, [2, 4], 1.0).double(), (LOGITS[0], TARGET[0])),
    ],
)
def test_call_without_a_batch_is_one_item(loss: Any, args: tuple[Any, ...]) -> None:
    output = rule_of(loss).value(loss(*args))
    assert output.isfinite()
    assert weigh(loss, args, output) == (1, "items", 1)


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(), nn.CrossEntropyLoss(weight=CLASS_WEIGHTS)])
@pytest.mark.parametrize("n", [0, 3])
def test_batch_without_a_target_that_counts_has_weight_zero(loss: Any, n: int) -> None:
    args = torch.randn(n, CLASSES, dtype=torch.float64), torch.full((n,), -100)
    assert loss(*args).isnan()
    assert weigh(loss, args) == (0, rule_of(loss).unit(args, {}), n)


def test_class_weights_of_zero_have_weight_zero() -> None:
    loss = nn.NLLLoss(weight=torch.tensor([0.0, 1, 1]))
    args = LOGITS[:, :3].float(), torch.zeros(4, dtype=torch.long)
    assert loss(*args).isnan()
    assert weigh(loss, args) == (0, "class_weight", 4)


@pytest.mark.parametrize(
    "loss", [nn.MSELoss(), nn.BCELoss(), nn.CrossEntropyLoss(), nn.KLDivLoss(reduction="batchmean")]
)
def test_empty_batch_has_weight_zero(loss: Any) -> None:
    empty = torch.rand(0, 3)
    assert loss(empty, empty).isnan()
    assert weigh(loss, (empty, empty)) == (0, rule_of(loss).unit((empty, empty), {}), 0)


# Of nothing torch 2.13 returns what happens to be in memory here, not NaN: the weight alone tells.
@pytest.mark.parametrize("loss", [nn.MultiMarginLoss(), nn.MultiLabelMarginLoss()])
def test_empty_batch_of_margins_has_weight_zero(loss: Any) -> None:
    args = torch.rand(0, 3), torch.zeros((0, 3) if isinstance(loss, nn.MultiLabelMarginLoss) else 0).long()
    assert weigh(loss, args, loss(*args)) == (0, "items", 0)


def test_float32_class_weights_are_summed_in_float64() -> None:
    loss = nn.CrossEntropyLoss(weight=torch.tensor([0.1, 2.0**24]))
    weight, _rows = rule_of(loss).weigh((torch.zeros(1001, 2), torch.tensor([1, *[0] * 1000])), {}, NAN)
    assert float(weight) == pytest.approx(2.0**24 + 1000 * float(torch.tensor(0.1)), rel=1e-15)


def test_class_156_in_bytes_is_not_taken_for_the_ignored_minus_100() -> None:
    args = torch.zeros(2, 200), torch.tensor([156, 3], dtype=torch.uint8)
    loss, heavy = nn.CrossEntropyLoss(), nn.CrossEntropyLoss(weight=torch.ones(200))
    assert loss(*args).item() * 2 == pytest.approx(nn.CrossEntropyLoss(reduction="sum")(*args).item())
    assert weigh(loss, args) == (2, "items", 2)
    assert weigh(heavy, args) == (2, "class_weight", 2)


ELEMENTWISE = [nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.PoissonNLLLoss, nn.HingeEmbeddingLoss]


@pytest.mark.parametrize("kind", ELEMENTWISE)
@pytest.mark.parametrize(
    ("input_shape", "target_shape", "weight", "is_trap"),
    [
        ((3, 1), (3,), 9, True),
        ((3,), (3, 1), 9, True),
        ((2, 3, 1), (3, 4), 24, True),
        ((4, 2), (2,), 8, False),
        ((4, 1), (4, 3), 12, False),
        ((), (3,), 3, False),
        ((3, 1), (3, 1), 3, False),
        ((1, 1), (1,), 1, False),
    ],
)
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_broadcast_that_multiplies_elements_is_told(
    kind: Any, input_shape: Any, target_shape: Any, weight: int, is_trap: bool
) -> None:
    args = torch.rand(input_shape).double() + 1, torch.rand(target_shape).double()
    rule = rule_of(kind())
    assert rule.weigh(args, {}, NAN)[0] == weight
    assert kind(reduction="sum")(*args).item() / kind()(*args).item() == pytest.approx(weight, rel=1e-12)
    told = f"input {input_shape} and target {target_shape} were broadcast to "
    found = rule.broadcast((args[0],), {rule._names[1]: args[1]})
    assert (found or "").startswith(told) if is_trap else found is None


def test_broadcast_says_the_shape() -> None:
    told = rule_of(functional.mse_loss).broadcast((torch.rand(3, 1), torch.rand(3)), {})
    assert told == "input (3, 1) and target (3,) were broadcast to (3, 3)"


def test_broadcast_that_a_loss_is_made_for_is_not_told() -> None:
    column, row = torch.rand(3, 1), torch.rand(1, 4)
    assert rule_of(nn.MarginRankingLoss()).broadcast((column, row, torch.ones(1, 1)), {}) is None
    assert rule_of(nn.TripletMarginLoss()).broadcast((row, column, torch.rand(3, 4)), {}) is None


@pytest.mark.parametrize(
    ("a", "b"), [((3, 1), (3,)), ((0, 3), (1, 3)), ((2, 1, 4), (5, 1)), ((), (2,)), ((1,), (0,))]
)
def test_broadcast_shape_is_torchs_own(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    assert broadcast_shape(a, b) == tuple(torch.broadcast_shapes(a, b))
