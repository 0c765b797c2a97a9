"""Progress bars: for a person at a terminal, and for nobody else."""

import io

import pytest

from lossboard_server.commands.progress import make_bar, tell_bytes


class Terminal(io.StringIO):
    """Standard error where somebody looks at it."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("unit", ["records", "bytes"])
def test_a_terminal_is_shown_how_much_how_fast_and_how_long_still(monkeypatch, unit):
    shown = Terminal()
    monkeypatch.setattr("sys.stderr", shown)
    with make_bar("copying", 4_000, unit) as bar:
        bar.update(1_000)
        bar.refresh()
    for part in ("copying", " 25%", "/s]", "<"):
        assert part in shown.getvalue()
    assert shown.getvalue().endswith("\r"), "the line is taken away at the end"


def test_a_file_is_shown_nothing(monkeypatch):
    shown = io.StringIO()
    monkeypatch.setattr("sys.stderr", shown)
    with make_bar("copying", 4_000) as bar:
        bar.update(1_000)
        bar.refresh()
    assert shown.getvalue() == ""


@pytest.mark.parametrize(
    ("size", "told"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1 kB"),
        (12_345, "12.3 kB"),
        (5e8, "500 MB"),
        (2.5e12, "2,500.0 GB"),
    ],
)
def test_a_size_is_told_in_three_figures(size, told):
    assert tell_bytes(int(size)) == told
