"""Children of a training in real processes: workers of a loader, multiprocessing, pickles."""

from pathlib import Path

import pytest

from interpreters import run_script
from journals import journalled, journals
from records_service import RecordsService

LOADER = """
import sys, warnings
import torch, lossboard
from torch import nn
from torch.utils.data import DataLoader, Dataset, get_worker_info

class Numbers(Dataset):
    run = None
    def __len__(self):
        return 24
    def __getitem__(self, index):
        if self.run is not None:
            self.run.log(0, index, float(index), 1, series="worker")
        return torch.full((2,), float(index))

def begin(worker):
    assert get_worker_info().id == worker
    torch.manual_seed(worker)

def main(method, persistent, logs):
    # Python 3.12 warns of every fork of a process with threads, ours among them.
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    numbers, loss, net = Numbers(), nn.MSELoss(), nn.Linear(2, 2)
    loader = DataLoader(numbers, batch_size=4, num_workers=2, worker_init_fn=begin,
                        multiprocessing_context=method, persistent_workers=persistent)
    run = lossboard.watch(loss, loader, run="R", strict=True)
    numbers.run = run if logs else None
    for _epoch in range(2):
        for x in loader:
            loss(net(x), x).backward()

if __name__ == "__main__":
    main(sys.argv[1] if sys.argv[1:] else {method!r}, {persistent}, {logs})
"""


@pytest.mark.parametrize("logs", [False, True])
@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_of_a_watched_loader_hurt_nothing_and_lose_nothing(
    service: RecordsService, state_folder: Path, tmp_path: Path, method: str, persistent: bool, logs: bool
) -> None:
    script = LOADER.replace("{method!r}", repr(method))
    script = script.replace("{persistent}", str(persistent)).replace("{logs}", str(logs))
    done = run_script(script, file=tmp_path / "script.py", timeout_s=90)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr  # the address, once: no worker says anything
    places = [(row["epoch"], row["batch"]) for row in service.rows if row["series"] == "train/loss"]
    assert places == [(epoch, batch) for epoch in range(2) for batch in range(6)]
    logged = sorted(row["batch"] for row in service.rows if row["series"] == "train/worker")
    assert logged == (sorted([*range(24), *range(24)]) if logs else [])
    assert service.duplicates == 0
    assert journals(state_folder) == []
    assert [state for _, state in service.states if state != "running"] == ["finished"]
    assert {run for run, _ in service.puts} == {"R"}


CHILDREN = """
import multiprocessing, os, sys, time, warnings
import lossboard

def log(run, series):
    for batch in range(50):
        run.log(0, batch, 1.0, 4, series=series)

def leave(run, series):
    log(run, series)
    os._exit(3)

def fail(run, series):
    log(run, series)
    raise ValueError("a child's own")

def step_out(run, series):
    log(run, series)
    sys.exit(4)

def go_on(run, series):
    log(run, series)
    grandchild = multiprocessing.Process(target=log, args=(run, series + "'s child"))
    grandchild.start()
    grandchild.join()

if __name__ == "__main__":
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    multiprocessing.set_start_method({method!r})
    run = lossboard.init(run="R", strict=True)
    run.log(0, 0, 1.0, 4)
    children = [multiprocessing.Process(target=kind, args=(run, kind.__name__), name=kind.__name__)
                for kind in (log, leave, fail, step_out, go_on)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    print([child.exitcode for child in children])
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_of_multiprocessing_log_to_the_run_of_their_parent(
    service: RecordsService, state_folder: Path, tmp_path: Path, method: str
) -> None:
    script = CHILDREN.replace("{method!r}", repr(method))
    done = run_script(script, file=tmp_path / "script.py", timeout_s=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[0, 3, 1, 4, 0]\n"
    rows = [(row["series"], row["batch"]) for row in service.rows if row["series"] != "train/loss"]
    names = ["log", "leave", "fail", "step_out", "go_on", "go_on's child"]
    assert sorted(rows) == sorted((f"train/{name}", batch) for name in names for batch in range(50))
    assert journals(state_folder) == []
    assert [state for _, state in service.states if state != "running"] == ["finished"]
    assert {run for run, _ in service.puts} == {"R"}


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize(("ends", "state"), [("pass", "finished"), ("raise ValueError", "failed")])
def test_child_that_starts_a_run_of_its_own_ends_it(
    service: RecordsService, state_folder: Path, tmp_path: Path, method: str, ends: str, state: str
) -> None:
    script = f"""
import multiprocessing, lossboard

def train(fold):
    lossboard.init(run=f"fold-{{fold}}", project="folds", strict=True).log(0, fold, 1.0, 4)
    {ends}

if __name__ == "__main__":
    context = multiprocessing.get_context({method!r})
    children = [context.Process(target=train, args=(fold,)) for fold in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
"""
    done = run_script(script, file=tmp_path / "script.py", timeout_s=60)
    assert done.returncode == 0, done.stderr
    assert sorted(row["run"] for row in service.rows) == ["fold-0", "fold-1"]
    assert [each for _, each in service.states if each != "running"] == [state, state]
    assert journals(state_folder) == []


def test_script_that_a_spawned_child_imports_again_starts_no_second_run(
    service: RecordsService, tmp_path: Path
) -> None:
    script = """
import multiprocessing, lossboard
run = lossboard.init(name="once", strict=True)

def work():
    run.log(0, 0, 2.0, 4)

if __name__ == "__main__":
    run.log(0, 0, 1.0, 4)
    child = multiprocessing.get_context("spawn").Process(target=work)
    child.start()
    child.join()
    assert child.exitcode == 0
"""
    done = run_script(script, file=tmp_path / "script.py")
    assert done.returncode == 0, done.stderr
    assert len({run for run, _ in service.puts}) == 1
    assert service.column("loss") == [1.0]
    assert "under `if __name__ ==" in done.stderr


def test_run_within_a_copied_or_saved_object_is_the_run_and_never_its_token(tmp_path: Path) -> None:
    script = """
import copy, pickle, sys, lossboard
run = lossboard.init(mode="offline", token="a secret of at least 16", strict=True)
trainer = {"run": run}
assert copy.deepcopy(trainer)["run"] is run
assert copy.copy(run) is run
saved = pickle.dumps(trainer)
assert b"secret" not in saved
assert pickle.loads(saved)["run"] is run
run.log(0, 0, 1.0, 4)
open(sys.argv[-1] if sys.argv[1:] else "saved", "wb").write(saved)
"""
    state = tmp_path / "elsewhere"
    done = run_script(f"import os; os.chdir({str(tmp_path)!r})\n" + script, LOSSBOARD_DIR=str(state))
    assert done.returncode == 0, done.stderr
    later = """
import pickle
run = pickle.load(open("saved", "rb"))["run"]
run.log(0, 1, 1.0, 4)
run.finish()
"""
    done = run_script(f"import os; os.chdir({str(tmp_path)!r})\n" + later, LOSSBOARD_DIR=str(state))
    assert done.returncode == 0, done.stderr
    assert journalled(state, "batch") == [0]
