"""The peers with the records of `ingest` and `store`: in, and out again as curves, by their own services."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from figures import Figure, note, report, size
from peers import QUIET, TRACKERS, Peer, prepare_peers

from processes import clean_environment

RECORDS: Final = 1_000_000
RUNS: Final = 20
RECORDS_A_RUN: Final = 100_000
TIMEOUT_S: Final = 1_800.0
TRACKER: Final = Path(__file__).with_name("tracker.py")


def main() -> None:
    """Measure one after the other, each in a process of its own."""
    if "--no-peers" in sys.argv:
        return
    for peer in prepare_peers(TRACKERS):
        with tempfile.TemporaryDirectory() as name:
            measure(peer, Path(name))


def measure(peer: Peer, folder: Path) -> None:
    """Let one peer store and read; one that fails is named and left out."""
    records, each = size(RECORDS), size(RECORDS_A_RUN)
    plan = {"peer": peer.name, "folder": str(folder), "records": records, "runs": RUNS, "each": each}
    environment = clean_environment(folder) | QUIET | {"HOME": str(folder)}
    command = [str(peer.python), str(TRACKER), json.dumps(plan)]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=True
        )
        told = json.loads(done.stdout.splitlines()[-1])
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip() or "nothing was said").splitlines()[-1]
        note(f"{peer.name} is left out, it does not run here: {last:.300}")
        return
    except subprocess.TimeoutExpired:
        note(f"{peer.name} is left out: it took longer than {TIMEOUT_S:g} s.")
        return
    one, many = f"/curves, 1 run × {records:,}, 1000 points", f"/curves, {RUNS} runs × {each:,}"
    report(
        [
            Figure(
                f"{records:,} records into the store, a second", told["rate"], "records/s", whose=peer.name
            ),
            Figure("disk for a record", told["bytes"], "B", whose=peer.name),
            Figure(f"{one}, median", told["one_ms"], "ms", whose=peer.name),
            Figure(f"{one}, points told", told["points"], "", whose=peer.name),
            Figure(f"{one}, spikes kept of 1", told["spikes"], "", whose=peer.name),
            Figure(f"{many}, median", told["many_ms"], "ms", whose=peer.name),
            Figure(
                f"memory of the service with {records:,} records, at most",
                told["memory_mib"],
                "MiB",
                whose=peer.name,
            ),
        ]
    )
    note(f"{peer.name} {peer.version}: {told['how']}")


if __name__ == "__main__":
    main()
