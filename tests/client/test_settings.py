"""Settings and environment: what is checked, what is hidden, what is read without running anything."""

import argparse
import math
import subprocess
import time
from pathlib import Path

import numpy
import pytest

from lossboard.environment import find_commit, redact_command
from lossboard.identity import make_run_id, make_writer_id
from lossboard.ranks import read_ranks
from lossboard.settings import SETTINGS, Settings, read_settings


def test_table_and_settings_name_the_same_things() -> None:
    assert [setting.name for setting in SETTINGS] == list(Settings._fields)


def test_state_folder_follows_the_environment(tmp_path: Path) -> None:
    assert read_settings({}, {"LOSSBOARD_DIR": "/a"}).dir == Path("/a")
    assert read_settings({}, {"XDG_STATE_HOME": "/b"}).dir == Path("/b/lossboard")
    assert read_settings({"dir": tmp_path}, {"LOSSBOARD_DIR": "/a"}).dir == tmp_path
    assert read_settings({}, {}).dir == Path("~/.local/state/lossboard").expanduser()


def test_config_becomes_what_json_can_carry() -> None:
    config = {
        "lr": 0.1,
        "bad": math.nan,
        "n": 2**70,
        3: (1, 2),
        "path": Path("/x"),
        "deep": {"a": {"b": None}},
    }
    assert read_settings({"config": config}, {}).config == {
        "lr": 0.1,
        "bad": "NaN",
        "n": str(2**70),
        "3": [1, 2],
        "path": "/x",
        "deep": {"a": {"b": None}},
    }
    assert read_settings({"config": argparse.Namespace(lr=1)}, {}).config == {"lr": 1}
    assert read_settings({"config": {"a": numpy.float32(0.5), "b": numpy.int64(3)}}, {}).config == {
        "a": 0.5,
        "b": 3,
    }


def test_secrets_in_a_config_are_hidden_and_numbers_are_not() -> None:
    config = {
        "hf_token": "abc",
        "apiKey": "abc",
        "d_key": 64,
        "num_tokens": 5,
        "monkey": "x",
        "a": {"password": "p"},
    }
    shown = {
        "hf_token": "…",
        "apiKey": "…",
        "d_key": 64,
        "num_tokens": 5,
        "monkey": "x",
        "a": {"password": "…"},
    }
    assert read_settings({"config": config}, {}).config == shown


def test_secrets_of_a_command_line_are_hidden() -> None:
    words = "train.py --lr 0.1 --api-token abc --password=xyz --hf_key abc data=s3://me:pw@host/x".split()
    words += ["token=abc", "-v"]
    shown = "train.py --lr 0.1 --api-token … --password=… --hf_key … data=s3://…@host/x token=… -v"
    assert redact_command(words) == shown


@pytest.mark.parametrize(
    ("environ", "ranks"),
    [
        ({}, (0, 1)),
        ({"RANK": "2", "WORLD_SIZE": "4"}, (2, 4)),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, (1, 2)),
        ({"RANK": "x", "WORLD_SIZE": "4"}, (0, 1)),
        ({"RANK": "4", "WORLD_SIZE": "4"}, (0, 1)),
    ],
)
def test_ranks_are_read_from_the_launcher(environ: dict[str, str], ranks: tuple[int, int]) -> None:
    assert read_ranks(environ) == ranks


def test_ranks_of_one_launch_agree_on_the_id() -> None:
    torchrun = {"TORCHELASTIC_RUN_ID": "job/7", "TORCHELASTIC_RESTART_COUNT": "1"}
    assert make_run_id(torchrun, 2) == make_run_id(torchrun, 2) == "torchrun-job-7-1"
    assert make_run_id({"TORCHELASTIC_RUN_ID": "none"}, 2) == make_run_id({"TORCHELASTIC_RUN_ID": "none"}, 2)
    assert make_run_id({"SLURM_JOB_ID": "5", "SLURM_STEP_ID": "0"}, 2) == "slurm-5-0"
    assert make_run_id({}, 1) != make_run_id({}, 1)
    assert make_run_id(torchrun, 2, 1) == "torchrun-job-7-1-2"
    assert make_run_id({"SLURM_JOB_ID": "5" * 70}, 2, 1) == f"slurm-{'5' * 56}-2"


def test_text_that_is_no_utf8_can_travel() -> None:
    odd = b"data/caf\xe9".decode("utf-8", "surrogateescape")
    assert read_settings({"config": {odd: [odd, Path(odd)]}}, {}).config == {
        "data/caf?": ["data/caf?", "data/caf?"]
    }
    assert redact_command(["train.py", odd]) == "train.py data/caf?"


def test_tag_is_no_longer_than_the_service_takes() -> None:
    assert read_settings({"tags": ["a" * 100]}, {}).tags == ["a" * 100]
    with pytest.raises(ValueError, match="tags"):
        read_settings({"tags": ["a" * 101]}, {})


def test_writer_ids_sort_by_time_and_differ() -> None:
    ids = [make_writer_id() for _ in range(100)]
    assert {len(one) for one in ids} == {26}
    assert len(set(ids)) == 100
    assert ids[0][:8] <= ids[-1][:8]


def test_writers_of_one_millisecond_sort_by_their_start() -> None:
    ids = []
    for _ in range(50):
        ids.append(make_writer_id())
        until = time.time() + 5e-6
        while time.time() < until:
            pass
    assert ids == sorted(ids)


def test_commit_is_found_loose_packed_detached_and_in_a_worktree(tmp_path: Path) -> None:
    def git(*words: str, cwd: Path = tmp_path) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main")
        done = subprocess.run(["git", *identity, *words], cwd=cwd, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init")
    git("commit", "--allow-empty", "-m", "x")
    commit = git("rev-parse", "HEAD")
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    assert find_commit(inner) == commit
    git("pack-refs", "--all")
    assert find_commit(inner) == commit
    git("worktree", "add", "-b", "other", str(tmp_path / "tree"))
    assert find_commit(tmp_path / "tree") == commit
    git("checkout", "--detach")
    assert find_commit(inner) == commit


def test_folder_outside_git_has_no_commit(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("gitdir: /nowhere")
    assert find_commit(tmp_path) is None
