"""The probe: the right word for every kind of loss, or none and the reason."""

import gc
import weakref
from collections import Counter
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from hypothesis import given, settings
from hypothesis import strategies as st

from lossboard.meaning.meaning import Meaning
from lossboard.meaning.probe import probe
from lossboard.wire import FINDINGS
from losses import (
    CLASSES,
    KINDS,
    WEIGHTS,
    ask,
    classes,
    generator,
    ignoring,
    masked,
    masked_mean,
    mse,
    vectors,
)

TELLING = {"smoothed dice": 0.4, "hardest quarter": 0.4, "median": 0.2}  # share of batches; else 0.9


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30)
@given(items=st.integers(7, 300), seed=st.integers(0, 2**32 - 1))
def test_finding_is_right_or_none_for_any_batch(kind, items, seed):
    loss, make, right = KINDS[kind]
    found = probe(loss, make(items, generator(seed)), {})
    assert found.finding in (*right.split(), "not_probed"), found.reason
    assert found.evaluations <= 9
    assert found.reason.endswith(".")


@pytest.mark.parametrize("kind", set(KINDS) - {"random"})
def test_most_batches_tell(kind):
    loss, make, _ = KINDS[kind]
    sizes = [7, 8, 10, 16, 32, 64, 128, 256, 1000] * 3
    found = Counter(probe(loss, make(n, generator(n + k)), {}).finding for k, n in enumerate(sizes))
    assert found["not_probed"] <= len(sizes) * (1 - TELLING.get(kind, 0.9))


@settings(max_examples=50)
@given(items=st.integers(7, 300), seed=st.integers(0, 2**32 - 1))
def test_ignored_targets_are_noticed_wherever_there_are_some(items, seed):
    logits, targets = ignoring(items, generator(seed))
    taken = targets[[place * items // min(items, 256) for place in range(min(items, 256))]]
    right = "mean_weighted" if (taken == -100).any() else "mean"
    found = ask(lambda o, t: F.cross_entropy(o, t, ignore_index=-100), logits, targets)
    assert found.finding in (right, "not_probed"), found.reason


def test_small_batch_whose_parts_weigh_alike_by_chance_is_not_the_last_to_be_asked():
    weights = torch.tensor([0.2, 1.0, 3.0, 0.5, 2.0])
    meaning = Meaning(lambda o, t: F.cross_entropy(o, t, weights), None, None)

    def learn(targets):
        logits = torch.randn(len(targets), 5, generator=generator(len(targets)))
        return meaning.prepare((logits, torch.tensor(targets)), {}, None)

    assert not learn([2, 1, 1, 2, 4, 4, 4])
    assert meaning.source() == "probed"
    assert learn([0, 1, 2, 3, 4, 0, 0, 1])
    assert meaning.source() == "unknown"


def test_words_are_the_wires():
    assert {word for _, _, right in KINDS.values() for word in right.split()} == set(FINDINGS)


class TestDeclaredWeight:
    def test_is_confirmed_by_a_loss_that_divides_by_it(self):
        batch = masked(16, generator(1))
        found = probe(masked_mean, batch, {}, lambda o, t, mask: mask.sum())
        assert found.finding == "mean_weighted"
        assert "by the weight that you gave" in found.reason
        found = probe(masked_mean, batch, {}, lambda o, t, mask: mask.sum(1))  # one for each item
        assert found.finding == "mean_weighted"

    def test_that_does_not_fit_is_told(self):
        found = probe(mse, vectors(16, generator(1)), {}, lambda o, t: t.abs().sum())
        assert found.finding == "mean"
        assert found.reason.endswith("The weight that you gave does not explain it.")

    def test_that_fails_or_is_a_number_is_left_aside(self):
        batch = vectors(16, generator(1))
        assert probe(mse, batch, {}, lambda o: 1.0) == probe(mse, batch, {}, 32) == probe(mse, batch, {})


@pytest.mark.parametrize(
    ("loss", "batch", "reason"),
    [
        (mse, (torch.rand(6, 3),) * 2, "A batch of 6 can't be cut"),
        (mse, (1.0, 2.0), "No argument of the loss is a tensor"),
        (lambda o, t: (o - t).square(), (torch.rand(8),) * 2, "The loss returns 8 values, not one."),
        (lambda o, t: {"loss": o.mean()}, (torch.rand(8),) * 2, "The loss returns dict, not one number."),
        (lambda o, t: o.nothing, (torch.rand(8),) * 2, "the loss raised AttributeError: 'Tensor' object"),
        (lambda o: o.mean() if len(o) == 8 else o[9], (torch.rand(8),), "the loss raised IndexError"),
        (lambda o: o.mean() * torch.nan, (torch.rand(8),), "The loss of 2 of the batch's items is nan."),
        (lambda o: F.relu(-o).mean(), (torch.rand(8),), "All parts of the batch have the same loss, 0."),
        (lambda o: (o * 0 + 3).clamp(max=2).mean(), (torch.rand(8),), "whatever the items"),
        (mse, (torch.rand(7, 300_000),) * 2, "too large to be copied: 600,000 numbers an item"),
        (F.cross_entropy, (torch.rand(8, 8), torch.arange(8)), "coupled before"),
        (torch.nn.Bilinear(200, 200, 64), (torch.rand(8, 200),) * 2, "can't be copied, or is too large"),
    ],
)
def test_what_cannot_be_told_is_said_in_a_sentence(loss, batch, reason):
    found = ask(loss, *batch)
    assert reason in found.reason
    assert found.finding == "constant" if "whatever" in reason else "not_probed"


@pytest.mark.parametrize("sizes", [(2, 3, 2), (12, 13, 29)])
def test_mask_that_is_as_dense_in_all_parts_by_chance_is_no_mean(sizes):
    zeros = [n for size in sizes for n in [1, 3] * (size // 2) + [2] * (size % 2)]
    mask = torch.tensor([[0.0] * n + [1.0] * (6 - n) for n in zeros])
    found = ask(masked_mean, *(torch.rand(mask.shape, generator=generator(k)) for k in (1, 2)), mask)
    assert found.finding == "not_probed"
    assert found.reason.endswith("by chance.")


def test_loss_of_several_processes_is_not_called():
    from torch.testing._internal.distributed.fake_pg import FakeStore

    torch.distributed.init_process_group("fake", rank=0, world_size=2, store=FakeStore())
    try:
        found = ask(mse, *vectors(8, generator(1)))
    finally:
        torch.distributed.destroy_process_group()
    assert (found.finding, found.evaluations) == ("not_probed", 0)
    assert "other processes" in found.reason


def test_equal_losses_are_no_constant():
    found = ask(lambda o: torch.where(o.abs() < 5, 1.0, o).mean(), torch.rand(8))
    assert found.finding == "not_probed"
    assert found.reason == "All parts of the batch have the same loss, 1."


def test_loss_with_a_memory_is_not_probed():
    class Warming(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, o, t):
            self.calls += 1
            return mse(o, t) * self.calls

    loss = Warming()
    found = ask(loss, *vectors(8, generator(1)))
    assert "has a memory" in found.reason
    assert loss.calls == 0


def test_random_loss_is_noticed_though_its_values_agree():
    found = ask(lambda o, t: mse(o, t) + 0 * torch.rand(()), *vectors(8, generator(1)))
    assert found.reason == "The loss draws random numbers, so two evaluations can't be compared."
    own = generator(3)
    found = ask(lambda o, t: mse(o, t) + torch.rand((), generator=own), *vectors(8, generator(1)))
    assert "the loss is random" in found.reason


def test_without_float64_a_coarser_type_is_judged_by_its_own_rounding():
    class Table:  # no callable, so the probe leaves it as it is: float32 beside float64 raises
        weights = WEIGHTS

    table = Table()
    loss = lambda o, t: F.cross_entropy(o, t, table.weights)  # noqa: E731
    found = Counter(ask(loss, *classes(n, generator(n))).finding for n in range(7, 60))
    assert set(found) <= {"mean_weighted", "not_probed"}
    table.weights = torch.ones(CLASSES)
    found = Counter(ask(loss, *classes(n, generator(n))).finding for n in range(7, 60))
    assert set(found) <= {"mean", "not_probed"}
    assert found["mean"] > 40


def lean_on(offset: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda batch: (batch - offset).square().mean()


def test_nothing_of_the_batch_is_kept() -> None:
    gc.collect()
    gc.disable()
    try:
        x = torch.linspace(0.1, 3.0, 24, requires_grad=True).view(12, 2)
        offset = torch.ones(2, requires_grad=True) * 2
        kept = weakref.ref(x), weakref.ref(offset)
        assert probe(lean_on(offset), (x,), {}).finding == "mean"
        del x, offset
        assert [each() for each in kept] == [None, None]
    finally:
        gc.enable()
