"""ARCHITECTURE.md and README.md name only what is there; files keep to the house style's size and opening."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOP_LEVEL = "backend|frontend|client|tests"
MAX_LINES = 300


def tracked(*patterns: str) -> list[Path]:
    command = ["git", "ls-files", *patterns]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is no git checkout")
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).exists()]


@pytest.mark.parametrize("document", ["ARCHITECTURE.md", "README.md"])
def test_every_path_that_a_document_names_exists(document: str) -> None:
    text = (ROOT / document).read_text()
    named = set(re.findall(rf"[`(]((?:{TOP_LEVEL})/[\w./-]*)[`)]", text))
    assert named, "the pattern finds nothing"
    assert {path for path in named if not (ROOT / path).exists()} == set()


def test_no_source_file_is_longer_than_the_house_style_allows() -> None:
    sources = tracked("*.py", "*.js", "*.css")
    long = {str(path.relative_to(ROOT)) for path in sources if len(path.read_text().splitlines()) > MAX_LINES}
    assert {name for name in long if "/migrations/" not in name} == set()


def test_every_module_opens_with_what_lives_in_it() -> None:
    opening = {".py": '"""', ".js": "// "}
    silent = {
        str(path.relative_to(ROOT))
        for path in tracked("*.py", "*.js")
        if not path.read_text().startswith((opening[path.suffix], "#!"))
    }
    assert silent == set()
