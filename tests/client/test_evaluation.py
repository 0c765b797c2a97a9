"""`evaluate` and `figure`: the same number whatever the batch size, and nothing of the training disturbed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import lossboard
from lossboard.reading import read_records, read_series

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


def test_function_counts_by_items() -> None:
    def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return (output - target).abs().mean()

    assert lossboard.evaluate(Model(), loss, loader_of(3)) == pytest.approx(3.0, abs=1e-6)


def test_mode_parameters_and_random_numbers_stay_as_they_were() -> None:
    model = Model()
    model.train()
    model.dropout.eval()
    dice = torch.get_rng_state()
    lossboard.evaluate(model, torch.nn.L1Loss(), loader_of(3, shuffle=True))
    assert (model.training, model.dropout.training) == (True, False)
    assert model.scale.grad is None
    assert torch.equal(torch.get_rng_state(), dice)


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
    assert [series.name for series in read_series(folder)] == ["eval/loss"]
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
    with pytest.raises(TypeError, match="inputs, targets"):
        lossboard.evaluate(Model(), torch.nn.L1Loss(), [ITEMS])


def test_figure_without_a_service_says_so(start_run: StartRun) -> None:
    pytest.importorskip("plotly")
    with pytest.raises(RuntimeError, match="lossboard serve"):
        start_run(mode="offline").figure()
