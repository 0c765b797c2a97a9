"""How long `import lossboard` takes, and how long a service takes from its start to its first answer."""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from figures import Figure, report, size

from processes import Service

IMPORT = (
    "import time; start = time.perf_counter_ns(); import lossboard; print(time.perf_counter_ns() - start)"
)


def main() -> None:
    """Measure both in fresh processes."""
    imports = [time_import() for _ in range(size(20))]
    report([Figure("import lossboard, median", statistics.median(imports) / 1e6, "ms")])
    starts, again = [], []
    for _ in range(max(2, size(10))):
        with tempfile.TemporaryDirectory() as folder:
            service = Service(Path(folder))
            starts.append(time_start(service))
            again.append(time_start(service))
    report([Figure("service start to first answer, new folder, median", statistics.median(starts), "s")])
    report([Figure("service start to first answer, again, median", statistics.median(again), "s")])


def time_import() -> int:
    """Time one import in a fresh interpreter, in ns."""
    done = subprocess.run([sys.executable, "-c", IMPORT], stdout=subprocess.PIPE, text=True, check=True)
    return int(done.stdout)


def time_start(service: Service) -> float:
    """Start the service and stop it again; returns the seconds to the first answer."""
    begin = time.perf_counter()
    service.start()
    seconds = time.perf_counter() - begin
    service.stop()
    return seconds


if __name__ == "__main__":
    main()
