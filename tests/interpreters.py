"""Scripts in real interpreters of their own."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path


def run_script(
    script: str, *, timeout_s: float = 30.0, file: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a script to its end, from `file` where one is given: children that are spawned import it."""
    source = textwrap.dedent(script)
    if file is not None:
        file.write_text(source)
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", *(["-c", source] if file is None else [str(file)])],
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def open_script(script: str, **environment: str) -> subprocess.Popen[str]:
    """Start a script that is talked to through its stdin and stdout."""
    return subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(script)],
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def exit_delay_s(done: subprocess.CompletedProcess[str]) -> float:
    """How long ago a script that has ended printed, as its last line, the time of its last statement."""
    return time.time() - float(done.stdout.splitlines()[-1])
