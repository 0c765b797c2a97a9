"""What `import lossboard` costs, and how long a service takes from its start to its first answer."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from figures import Figure, report, size

from processes import Service

IMPORTS: Final = 15
STARTS: Final = 10
IMPORT_BUDGET_MS: Final = 30.0
IMPORT: Final = """
import sys, time
before = set(sys.modules)
begin = time.perf_counter_ns()
import lossboard
ns = time.perf_counter_ns() - begin
loaded = set(sys.modules) - before
foreign = {name.partition(".")[0] for name in loaded} - set(sys.stdlib_module_names) - {"lossboard"}
import json
print(json.dumps([ns, len(loaded), len(foreign), len(sys._current_frames()) - 1]))
"""


def main() -> None:
    """Measure both in fresh processes."""
    import_lossboard()  # leaves the compiled files
    imports = [import_lossboard() for _ in range(size(IMPORTS))]
    _, loaded, foreign, threads = imports[-1]
    median = statistics.median(ns for ns, *_ in imports) / 1e6
    report([Figure("import lossboard, median", median, "ms", IMPORT_BUDGET_MS)])
    report([Figure("import lossboard", loaded, "modules")])
    report([Figure("import lossboard", foreign, "packages of others", 0)])
    report([Figure("import lossboard", threads, "threads", 0)])
    starts, again = [], []
    for _ in range(size(STARTS)):
        with tempfile.TemporaryDirectory() as folder:
            service = Service(Path(folder))
            starts.append(time_start(service))
            again.append(time_start(service))
    report([Figure("service start to first answer, new folder, median", statistics.median(starts), "s")])
    report([Figure("service start to first answer, again, median", statistics.median(again), "s")])


def import_lossboard() -> list[Any]:
    """Import it in a fresh interpreter; returns ns, modules loaded, packages of others, threads started."""
    done = subprocess.run([sys.executable, "-c", IMPORT], stdout=subprocess.PIPE, text=True, check=True)
    told: list[Any] = json.loads(done.stdout)
    return told


def time_start(service: Service) -> float:
    """Start the service and stop it again; returns the seconds to the first answer."""
    begin = time.perf_counter()
    service.start()
    seconds = time.perf_counter() - begin
    service.stop()
    return seconds


if __name__ == "__main__":
    main()
