"""What `lossboard sync` says and with which exit code: progress, what was asked wrongly, what went wrong."""

import re
from pathlib import Path
from typing import Any

import pytest

from leftovers import ELSEWHERE, make_folder
from lossboard.journal.reading import read_acked
from lossboard.sending.cli_sync import Progress, main
from records_service import TOKEN, RecordsService

FAR = ELSEWHERE | {"address": "https://far.example"}  # whom a compute node was told to send to


def test_without_a_service_the_answer_says_how_to_get_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_folder(tmp_path / "copy", **FAR)
    assert main([str(tmp_path / "copy")]) == 1
    assert "lossboard serve" in capsys.readouterr().err
    assert main([str(tmp_path / "copy"), "--url", "http://127.0.0.1:9"]) == 1
    assert "http://127.0.0.1:9" in capsys.readouterr().err
    assert read_acked(folder) == 0


def test_wrong_token_says_where_the_right_one_is(
    service: RecordsService,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_folder(tmp_path / "copy", **FAR)
    wrong = tmp_path / "token"
    wrong.write_text("a wrong one, long enough\n")
    assert main([str(tmp_path / "copy"), "--token-file", str(wrong)]) == 1
    assert "does not hold our token" in capsys.readouterr().err
    wrong.write_text(TOKEN + "\n")
    assert main([str(tmp_path / "copy"), "--url", service.url, "--token-file", str(wrong)]) == 0


def test_service_that_refuses_the_token_ends_the_sync(
    service: RecordsService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for run in "AB":
        make_folder(tmp_path / "copy", **FAR, run=run)
    service.token = None
    service.tell(token=None)
    service.token = TOKEN  # it asks for one that the services file does not know
    assert main([str(tmp_path / "copy")]) == 1
    said = capsys.readouterr().err
    assert said.count("answered 401") == 1
    assert "lossboard token" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "there is no folder"),
        (["empty"], "no journal in"),
        (["empty", "--url", "ftp://x"], "url must be an address"),
        (["empty", "--token-file", "nowhere"], "can't read the token from nowhere"),
    ],
)
def test_what_was_asked_wrongly_is_told_with_code_2(
    tmp_path: Path,
    words: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert said in capsys.readouterr().err


def test_empty_state_folder_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "nothing to send" in capsys.readouterr().out


def test_quiet_says_only_what_went_wrong(
    service: RecordsService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_folder(tmp_path / "copy", **FAR)
    assert main([str(tmp_path / "copy"), "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


class Stream:
    """What a progress line is written to."""

    def __init__(self, is_terminal: bool) -> None:
        self.written = ""
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal

    def write(self, text: str) -> None:
        self.written += text

    def flush(self) -> None:
        """Nothing is held back."""


@pytest.mark.parametrize(("is_terminal", "form"), [(True, r"\r{} *\r{} *\r +\r"), (False, r"{}\n{}\n")])
def test_progress_is_one_line_on_a_terminal_and_several_in_a_log(is_terminal: bool, form: str) -> None:
    stream: Any = Stream(is_terminal)
    steps = {0.05: 1_000, 10.0: 200_000, 10.01: 210_000, 25.0: 500_000}
    clock = iter((0.0, *steps, 25.0))
    progress = Progress(1_000_000, stream, is_quiet=False, clock=lambda: next(clock))
    for done in steps.values():
        progress.tell(done)
    assert progress.end() == 25.0
    lines = [
        "200,000 of 1,000,000 records, 20,000/s, 40 s left",
        "500,000 of 1,000,000 records, 20,000/s, 25 s left",
    ]
    assert re.fullmatch(form.format(*map(re.escape, lines)), stream.written)
