"""`evaluate` and `figure`: the same number whatever the batch size, and nothing of the training disturbed."""

import functools
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

import lossboard
from lossboard.journal.reading import read_records, read_series, read_traits

StartRun = Callable[..., lossboard.Run]

ITEMS = torch.tensor([4.0, 5, 2, 4, 3, 2, 3, 1], dtype=torch.float64).reshape(8, 1)  # the seed's eight items


def loader_of(batch_size: int, **options: Any) -> torch.utils.data.DataLoader[Any]:
    data = torch.utils.data.TensorDataset(ITEMS, torch.zeros(8, 1))
    return torch.utils.data.DataLoader(data, batch_size=batch_size, **options)


class Model(torch.nn.Module):
    """Gives back its input, with a part that training and evaluation treat differently."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))
        self.dropout = torch.nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dropout(x * self.scale)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_result_is_exact_per_item_at_any_batch_size(batch_size: int, reduction: str) -> None:
    result = lossboard.evaluate(Model(), torch.nn.L1Loss(reduction=reduction), loader_of(batch_size))
    assert result == pytest.approx(3.0, abs=1e-12)


LOGITS = torch.randn(23, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
TARGETS = torch.arange(23) * 7 % 5 % 4
IGNORED = TARGETS.masked_fill(TARGETS == 1, -100)
WEIGHTS = torch.tensor([0.2, 1.0, 3.0, 0.5], dtype=torch.float64)
CE = torch.nn.CrossEntropyLoss
SIZES = (1, 2, 3, 7, 10, 23)


def classes_of(batch_size: int, targets: torch.Tensor = TARGETS) -> torch.utils.data.DataLoader[Any]:
    data = torch.utils.data.TensorDataset(LOGITS, targets)
    return torch.utils.data.DataLoader(data, batch_size=batch_size)


def focal(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    each = F.cross_entropy(output, target, reduction="none")
    return ((1 - torch.exp(-each)) ** 2 * each).mean()


def double_model() -> "Model":
    return Model().double()


@pytest.mark.parametrize("batch_size", SIZES)
@pytest.mark.parametrize(
    ("loss", "expected", "targets"),
    [
        (CE(weight=WEIGHTS), CE(weight=WEIGHTS), TARGETS),
        (CE(weight=WEIGHTS), CE(weight=WEIGHTS), IGNORED),
        (CE(weight=WEIGHTS, reduction="none"), CE(weight=WEIGHTS), IGNORED),
        (CE(weight=WEIGHTS, reduction="sum"), CE(weight=WEIGHTS), IGNORED),
        (F.cross_entropy, CE(), IGNORED),
        (functools.partial(F.cross_entropy, weight=WEIGHTS, reduction="sum"), CE(weight=WEIGHTS), IGNORED),
        (focal, focal, TARGETS),
        (lambda o, t: F.cross_entropy(o, t) + 0.5, lambda o, t: F.cross_entropy(o, t) + 0.5, TARGETS),
        (lambda o, t: F.cross_entropy(o, t, reduction="sum"), CE(), TARGETS),
        (lambda o, t: F.cross_entropy(o, t, reduction="none"), CE(), TARGETS),
        (lambda o, t: 3 + 0 * o.sum(), lambda o, t: torch.tensor(3.0), TARGETS),
    ],
)
def test_any_batch_size_gives_the_loss_of_all_data(
    loss: Any, expected: Any, targets: torch.Tensor, batch_size: int
) -> None:
    result = lossboard.evaluate(double_model(), loss, classes_of(batch_size, targets))
    assert result == pytest.approx(expected(LOGITS, targets).item(), rel=1e-12)


@pytest.mark.parametrize("batch_size", SIZES)
def test_watched_function_keeps_its_declared_weight(start_run: StartRun, batch_size: int) -> None:
    run = start_run(mode="disabled")

    def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(output, target, weight=WEIGHTS)

    def count(_output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return WEIGHTS[target].sum()

    lossboard.watch(loss, weight=count, run=run)
    for each in (loss, run.loss):
        result = lossboard.evaluate(double_model(), each, classes_of(batch_size))
        assert result == pytest.approx(CE(weight=WEIGHTS)(LOGITS, TARGETS).item(), rel=1e-12)


def test_loss_without_a_mean_is_told_once_and_labelled(
    start_run: StartRun, state_folder: Path, warnings_of_lossboard: Callable[[], list[str]]
) -> None:
    start_run(mode="offline")

    def rmse(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return ((output - F.one_hot(target, 4)) ** 2).mean().sqrt()

    result = lossboard.evaluate(double_model(), rmse, classes_of(10))
    lossboard.evaluate(double_model(), rmse, classes_of(10))
    parts = [(rmse(o, t).item(), len(t)) for o, t in zip(LOGITS.split(10), TARGETS.split(10), strict=True)]
    assert result == pytest.approx(sum(value * n for value, n in parts) / 23, rel=1e-12)
    (told,) = [line for line in warnings_of_lossboard() if "rmse" in line]
    assert "rmse has no mean over the items, so its evaluation depends on the batch size. " in told
    (folder,) = (state_folder / "journal").iterdir()
    (series,) = read_series(folder).values()
    assert (series.reduction, series.weight_source) == ("unknown", "probed")
    assert read_traits(folder)["eval/loss"] == {
        "finding": "non_linear",
        "dtype": "float64",
        "dataset_items": 23,
    }
    assert {(r.batch_size, r.weight) for _, r in read_records(folder) if r is not None} == {(23, None)}


def test_unseen_weights_are_told_without_a_run_too(warnings_of_lossboard: Callable[[], list[str]]) -> None:
    def by_class(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(output, target, weight=WEIGHTS)

    lossboard.evaluate(double_model(), by_class, classes_of(10))
    (told,) = warnings_of_lossboard()
    assert "by_class was taken for a mean over the items; watch it with weight=" in told


def test_result_has_the_series_of_the_watched_loss(start_run: StartRun, state_folder: Path) -> None:
    run = start_run(mode="offline")
    loss = CE(weight=WEIGHTS, reduction="sum")
    lossboard.watch(loss, run=run, series="class")
    lossboard.watch(focal, run=run, series="focal")
    for each in (loss, run.loss):
        lossboard.evaluate(double_model(), each, classes_of(10))
    (folder,) = (state_folder / "journal").iterdir()
    told = [
        (series.name, series.reduction, series.weight_unit, series.weight_source)
        for series in read_series(folder).values()
    ]
    assert told == [
        ("eval/class", "mean", "class_weight", "exact"),
        ("eval/focal", "mean", "items", "probed"),
    ]
    first, second = (record for _, record in read_records(folder) if record is not None)
    assert (first.batch_size, first.weight) == (23, pytest.approx(WEIGHTS[TARGETS].sum().item(), rel=1e-12))
    assert (second.batch_size, second.weight) == (23, 23)


class LanguageModel(torch.nn.Module):
    """Computes its own loss, each position compared with the next label."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(9, 9).double()

    def forward(self, input_ids: torch.Tensor, labels: torch.Tensor | None = None) -> Any:
        logits = self.table(input_ids)
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits[:, :-1].reshape(-1, 9), labels[:, 1:].reshape(-1))
        return SimpleNamespace(loss=loss, logits=logits)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_model_with_a_loss_of_its_own_is_weighed_by_its_labels(rows: int) -> None:
    ids = torch.randint(0, 9, (5, 8), generator=torch.Generator().manual_seed(1))
    labels = ids.masked_fill(torch.rand(5, 8, generator=torch.Generator().manual_seed(2)) < 0.4, -100)
    model = LanguageModel()
    batches = [
        {"input_ids": i, "labels": t} for i, t in zip(ids.split(rows), labels.split(rows), strict=True)
    ]
    expected = model(ids, labels).loss.item()
    assert lossboard.evaluate(model, model, batches) == pytest.approx(expected, rel=1e-12)
    with pytest.raises(TypeError, match="needs labels"):
        lossboard.evaluate(model, model, [{"input_ids": ids}])
    with pytest.raises(TypeError, match="mappings of its arguments, not tuple"):
        lossboard.evaluate(model, model, [(ids, labels)])


def test_mode_parameters_and_random_numbers_stay_as_they_were() -> None:
    model = Model()
    model.train()
    model.dropout.eval()
    dice = torch.get_rng_state()
    lossboard.evaluate(model, torch.nn.L1Loss(), loader_of(3, shuffle=True))
    assert (model.training, model.dropout.training) == (True, False)
    assert model.scale.grad is None
    assert torch.equal(torch.get_rng_state(), dice)


def test_all_dice_and_the_loaders_own_stay_as_they_were() -> None:
    def drawing() -> Iterator[Any]:
        random.random()
        np.random.rand()
        yield ITEMS, torch.zeros(8, 1)

    own = torch.Generator().manual_seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist(), own.get_state()
    lossboard.evaluate(Model(), torch.nn.L1Loss(), drawing())
    lossboard.evaluate(Model(), torch.nn.L1Loss(), loader_of(3, shuffle=True, generator=own))
    after = random.getstate(), np.random.get_state()[1].tolist(), own.get_state()
    assert before[:2] == after[:2]
    assert torch.equal(before[2], after[2])


def test_loader_that_raises_in_the_middle_leaves_the_mode_as_it_was() -> None:
    def breaking() -> Iterator[Any]:
        yield ITEMS, torch.zeros(8, 1)
        raise OSError("disk")

    model = Model()
    with pytest.raises(OSError, match="disk"):
        lossboard.evaluate(model, torch.nn.L1Loss(), breaking())
    assert model.training
    assert torch.is_grad_enabled()


def test_parts_of_a_batch_go_to_the_models_device() -> None:
    class Elsewhere:
        def __init__(self, tensor: torch.Tensor) -> None:
            self.tensor = tensor

        def to(self, device: torch.device) -> torch.Tensor:
            return self.tensor.to(device)

    class Nested(Model):
        def forward(self, x: Any) -> torch.Tensor:
            return super().forward(x["items"][0])

    batches = [({"items": [Elsewhere(ITEMS)]}, Elsewhere(torch.zeros(8, 1)))]
    assert lossboard.evaluate(Nested(), torch.nn.L1Loss(), batches) == 3.0


def test_result_is_recorded_in_split_eval_of_the_open_run_and_nowhere_else(
    start_run: StartRun, state_folder: Path
) -> None:
    run = start_run(mode="offline")
    loader, loss = loader_of(3), torch.nn.L1Loss()
    lossboard.watch(loss, loader, run=run)
    run.epoch = 2
    lossboard.evaluate(Model(), loss, loader)
    lossboard.evaluate(Model(), loss, loader)
    (folder,) = (state_folder / "journal").iterdir()
    assert [series.name for series in read_series(folder).values()] == ["eval/loss"]
    records = [record for _, record in read_records(folder) if record is not None]
    assert [(r.epoch, r.batch, r.loss, r.batch_size, r.weight) for r in records] == [
        (2, 0, 3.0, 8, 8.0),
        (2, 1, 3.0, 8, 8.0),
    ]


def test_mapping_of_inputs_and_targets_is_a_batch() -> None:
    batches = [{"predictors": ITEMS, "targets": torch.zeros(8, 1)}]
    assert lossboard.evaluate(Model(), torch.nn.L1Loss(), batches) == 3.0


def test_loader_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no items"):
        lossboard.evaluate(Model(), torch.nn.L1Loss(), [])


def test_batch_of_another_form_is_an_error() -> None:
    with pytest.raises(TypeError, match=r"\(inputs, targets\).* not Tensor"):
        lossboard.evaluate(Model(), torch.nn.L1Loss(), [ITEMS])
    with pytest.raises(TypeError, match="not 3 parts"):
        lossboard.evaluate(Model(), torch.nn.L1Loss(), [(ITEMS, ITEMS, ITEMS)])


def test_loss_of_another_form_is_an_error() -> None:
    with pytest.raises(TypeError, match="or a function, not str"):
        lossboard.evaluate(Model(), "mse", loader_of(3))
    with pytest.raises(TypeError, match="the loss returned list"):
        lossboard.evaluate(Model(), lambda o, t: [1.0], loader_of(3))


def test_figure_without_a_service_says_so(start_run: StartRun) -> None:
    pytest.importorskip("plotly")
    with pytest.raises(RuntimeError, match="lossboard serve"):
        start_run(mode="offline").figure()
