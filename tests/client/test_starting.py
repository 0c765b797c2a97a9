"""How scripts start runs in real interpreters: what they are told, and which runs they get."""

from pathlib import Path

from interpreters import run_script
from records_service import RecordsService


def test_start_prints_one_line_with_the_address(service: RecordsService) -> None:
    done = run_script("import lossboard\nrun = lossboard.init(run='A', name='otter')\nrun.log(0, 0, 1.0, 4)")
    assert done.stderr == f"lossboard: run otter at {service.url}/?run=A\n"
    assert service.column("loss") == [1.0]
    assert service.states[-1][1] == "finished"


def test_without_a_service_a_second_line_says_where_records_are() -> None:
    script = "import lossboard, time\nrun = lossboard.init()\nrun.log(0, 0, 1.0, 4)\ntime.sleep(3.4)"
    done = run_script(script)
    lines = done.stderr.splitlines()
    assert len(lines) == 2, lines
    assert "`lossboard serve` shows them" in lines[0]
    assert "1 record of" in lines[1]


def test_runs_of_one_launch_have_ids_of_their_own() -> None:
    script = """
import lossboard
folds = [lossboard.init(name=f"fold {fold}", mode="offline").id for fold in range(3)]
assert folds == ["torchrun-job-0", "torchrun-job-0-2", "torchrun-job-0-3"], folds
"""
    launch = {"TORCHELASTIC_RUN_ID": "job", "TORCHELASTIC_RESTART_COUNT": "0", "RANK": "1", "WORLD_SIZE": "2"}
    done = run_script(script, **launch)
    assert done.returncode == 0, done.stderr


def test_run_starts_in_a_folder_that_is_gone(tmp_path: Path) -> None:
    script = """
import os, lossboard
os.mkdir("gone")
os.chdir("gone")
os.rmdir(os.getcwd())
run = lossboard.init(mode="offline", strict=True)
run.log(0, 0, 1.0, 4)
"""
    done = run_script(f"import os; os.chdir({str(tmp_path)!r})\n{script}")
    assert done.returncode == 0, done.stderr
