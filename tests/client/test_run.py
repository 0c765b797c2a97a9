"""The run in a script's hands: misuse, epochs, values without meaning, modes and several runs."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lossboard
from lossboard.journal.reading import read_manifest, read_records, read_series
from lossboard.journal.slots import Stored
from lossboard.wire import MAX_SERIES

StartRun = Callable[..., lossboard.Run]


def stored(state_folder: Path) -> list[tuple[str, Stored]]:
    """Return what the only journal holds, with the series' names."""
    (folder,) = (state_folder / "journal").iterdir()
    series = read_series(folder)
    return [(series[record.series].name, record) for _, record in read_records(folder) if record]


class Scalar:
    """A number as numpy and torch hand it out."""

    def __init__(self, value: Any, device: str = "cpu") -> None:
        self.value = value
        self.device = type("Device", (), {"type": device})()

    def item(self) -> Any:
        return self.value


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ((-1, 0, 1.0, 4), "epoch"),
        ((0.5, 0, 1.0, 4), "epoch"),
        ((True, 0, 1.0, 4), "epoch"),
        ((0, -1, 1.0, 4), "batch"),
        ((0, None, 1.0, 4), "batch"),
        ((0, 2**53, 1.0, 4), "batch"),
        ((0, 0, "1.0", 4), "loss"),
        ((0, 0, None, 4), "loss"),
        ((0, 0, 2**2000, 4), "loss"),
        ((0, 0, [1.0], 4), "loss"),
        ((0, 0, 1.0, 0), "batch_size"),
        ((0, 0, 1.0, 2.0), "batch_size"),
        ((2**31, 0, 1.0, 4), "epoch"),
    ],
)
def test_misuse_at_log_names_the_argument_where_strict(
    start_run: StartRun, arguments: tuple[Any, ...], field: str
) -> None:
    run = start_run(mode="offline")
    with pytest.raises(ValueError, match=f"^{field}: "):
        run.log(*arguments)


@pytest.mark.parametrize(
    "options",
    [
        {"reduction": "average"},
        {"weight": -1.0},
        {"series": ""},
        {"series": 3},
        {"split": "a/"},
        {"series": "\ud800"},
    ],
)
def test_misuse_of_an_option_is_refused(start_run: StartRun, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        start_run(mode="offline").log(0, 0, 1.0, 4, **options)


def test_misuse_is_warned_once_counted_and_costs_itself_only(
    start_run: StartRun, state_folder: Path, warnings_of_lossboard: Callable[[], list[str]]
) -> None:
    run = start_run(mode="offline", strict=False)
    for batch in range(5):
        run.log(0, batch, "wrong", 4)  # type: ignore[arg-type]
        run.log(0, batch, 1.0, 4)
    assert len(stored(state_folder)) == 5
    assert len(warnings_of_lossboard()) == 1
    assert run._faults.counts() == {"refused-by-client": 5}


def test_numbers_of_other_libraries_are_read(start_run: StartRun, state_folder: Path) -> None:
    run = start_run(mode="offline")
    run.log(0, Scalar(3), Scalar(0.5), Scalar(8), weight=Scalar(2.0))  # type: ignore[arg-type]
    ((_, record),) = stored(state_folder)
    assert (record.batch, record.loss, record.batch_size, record.weight) == (3, 0.5, 8, 2.0)


def test_value_on_a_device_is_refused_rather_than_waited_for(start_run: StartRun) -> None:
    with pytest.raises(ValueError, match=r"pass loss\.item\(\)"):
        start_run(mode="offline").log(0, 0, Scalar(0.5, "cuda"), 8)  # type: ignore[arg-type]


def test_nonfinite_losses_are_kept_even_of_an_empty_batch(start_run: StartRun, state_folder: Path) -> None:
    run = start_run(mode="offline")
    run.log(0, 0, math.nan, 0)
    run.log(0, 1, math.inf, 4)
    losses = [record.loss for _, record in stored(state_folder)]
    assert math.isnan(losses[0])
    assert losses[1] == math.inf


def test_values_without_meaning_belong_to_the_current_epoch(start_run: StartRun, state_folder: Path) -> None:
    run = start_run(mode="offline")
    run.log({"loss": 0.5, "val/acc": 1})
    for _ in run.epochs(2):
        run.log({"loss": 0.25})
        run.log({"loss": 0.125})
    found = [(name, record.epoch, record.batch, record.batch_size) for name, record in stored(state_folder)]
    assert found == [
        ("train/loss", -1, 0, None),
        ("val/acc", -1, 0, None),
        ("train/loss", 0, 0, None),
        ("train/loss", 0, 1, None),
        ("train/loss", 1, 0, None),
        ("train/loss", 1, 1, None),
    ]
    (folder,) = (state_folder / "journal").iterdir()
    assert {series.reduction for series in read_series(folder).values()} == {"unknown"}


def test_bad_value_beside_good_ones_costs_itself_only(start_run: StartRun, state_folder: Path) -> None:
    run = start_run(mode="offline", strict=False)
    run.log({"loss": 0.5, "note": "hello", "b": None, "c": 2})  # type: ignore[dict-item]
    assert [name for name, _ in stored(state_folder)] == ["train/loss", "train/c"]


def test_epochs_begin_at_the_start_epoch_and_end_where_range_does(start_run: StartRun) -> None:
    run = start_run(mode="offline", start_epoch=3)
    assert run.epoch is None
    assert [(epoch, run.epoch) for epoch in run.epochs(5)] == [(3, 3), (4, 4)]
    assert [run.epoch for _ in run.epochs(range(7, 9))] == [7, 8]
    assert [(item, run.epoch) for item in run.epochs(["a", "b"])] == [("a", 3), ("b", 4)]


def test_epoch_that_is_no_whole_number_is_misuse(start_run: StartRun) -> None:
    run = start_run(mode="offline")
    with pytest.raises(ValueError, match="epoch"):
        run.epoch = -1


def test_disabled_run_writes_nothing_and_still_checks(start_run: StartRun, state_folder: Path) -> None:
    run = start_run(mode="disabled")
    run.log(0, 0, 1.0, 4)
    run.log({"a": 1})
    assert run.url is None
    with pytest.raises(ValueError):
        run.log(0, 0, "x", 4)  # type: ignore[arg-type]
    run.finish()
    assert list(state_folder.iterdir()) == []


def test_offline_run_keeps_its_journal_with_an_end_mark(
    start_run: StartRun, state_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with start_run(mode="offline", run="A") as run:
        run.log(0, 0, 1.0, 4)
    (folder,) = (state_folder / "journal").iterdir()
    assert read_manifest(folder)["ended"] == "finished"
    assert read_manifest(folder)["run"] == "A"
    assert len(stored(state_folder)) == 1
    assert "offline" in capsys.readouterr().err


def test_exception_in_the_block_makes_the_run_failed(start_run: StartRun, state_folder: Path) -> None:
    with pytest.raises(KeyError), start_run(mode="offline"):
        raise KeyError("training broke")
    (folder,) = (state_folder / "journal").iterdir()
    assert read_manifest(folder)["ended"] == "failed"


def test_log_after_finish_is_refused(
    start_run: StartRun, warnings_of_lossboard: Callable[[], list[str]]
) -> None:
    run = start_run(mode="offline", strict=False)
    run.log(0, 0, 1.0, 4)
    run.finish()
    run.log(0, 1, 1.0, 4)
    run.finish()
    assert run._faults.counts() == {"after-finish": 1}
    assert len(warnings_of_lossboard()) == 1


def test_cell_that_runs_twice_finishes_its_first_run(start_run: StartRun) -> None:
    first, other = start_run(mode="offline"), start_run(mode="offline", project="other")
    named = start_run(mode="offline", name="side by side")
    second = start_run(mode="offline")
    assert [run._is_open for run in (first, other, named, second)] == [False, True, True, True]


def test_callback_that_fails_at_finish_stops_nothing(start_run: StartRun, state_folder: Path) -> None:
    run = start_run(mode="offline", strict=False)
    called: list[int] = []

    def fail() -> None:
        called.append(1)
        raise RuntimeError("a fault of ours")

    run._on_finish(fail)
    run._on_finish(lambda: called.append(2))
    run.finish()
    assert called == [1, 2]
    assert run._faults.counts() == {"internal-fault": 1}


@pytest.mark.parametrize(
    "arguments",
    [
        {"run": "a/b"},
        {"mode": "sometimes"},
        {"project": ""},
        {"project": 3},
        {"config": [1]},
        {"tags": "word"},
        {"start_epoch": -1},
        {"url": "ftp://x"},
        {"url": "http://user:secret@x"},
        {"resume": True},
        {"strict": 1},
    ],
)
def test_misuse_at_init_raises(arguments: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        lossboard.init(**{"mode": "offline"} | arguments)


def test_argument_goes_before_environment_before_default(
    start_run: StartRun, monkeypatch: pytest.MonkeyPatch, state_folder: Path
) -> None:
    monkeypatch.setenv("LOSSBOARD_MODE", "offline")
    monkeypatch.setenv("LOSSBOARD_RUN_ID", "from-environment")
    monkeypatch.setenv("LOSSBOARD_PROJECT", "P")
    assert start_run().id == "from-environment"
    assert start_run(run="given").id == "given"
    manifests = [read_manifest(folder) for folder in (state_folder / "journal").iterdir()]
    assert {manifest["project"] for manifest in manifests} == {"P"}


def test_name_is_made_of_the_id_so_that_ranks_agree(start_run: StartRun) -> None:
    assert start_run(mode="offline", run="A").name == start_run(mode="offline", run="A").name


def test_name_made_of_a_number_costs_itself_only_and_is_told_once(
    start_run: StartRun, state_folder: Path, warnings_of_lossboard: Callable[[], list[str]]
) -> None:
    run = start_run(mode="offline", strict=False)
    for step in range(MAX_SERIES + 20):
        run.log({f"loss at {step}": 1.0})
    run.log({"loss at 0": 2.0})
    (folder,) = (state_folder / "journal").iterdir()
    assert len(read_series(folder)) == MAX_SERIES
    assert len(list(read_records(folder))) == MAX_SERIES + 1
    assert run._faults.counts() == {"refused-by-client": 20}
    (warning,) = warnings_of_lossboard()
    assert "500 series" in warning


def test_finished_run_is_not_watched(start_run: StartRun) -> None:
    run = start_run(mode="offline")
    run.finish()
    with pytest.raises(ValueError, match="finished"):
        lossboard.watch(abs, run=run)
