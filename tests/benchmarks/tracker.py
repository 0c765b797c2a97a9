"""One peer of `tracking`, in a process of its own: what its client stores, its own service shows as curves.

The requests are those of its page; of the smaller runs the first is copied where a run is a folder.
"""

import json
import math
import os
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

SPIKE: Final = 1e6
REQUESTS: Final = 5
START_TIMEOUT_S: Final = 120.0
DIRECT: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))
BIN: Final = Path(sys.executable).parent

Read = Callable[[list[str]], list[list[float]]]
"""The runs' names → the losses that the service tells of each."""


def main(plan: dict[str, Any]) -> dict[str, Any]:
    """Store, start the service, read, and tell what was measured."""
    folder = Path(plan["folder"])
    peer = PEERS[plan["peer"]](folder)
    process = peer.serve() if peer.serves_first else None
    try:
        begin = time.perf_counter()
        peer.log("large", make_losses(plan["records"], plan["records"] * 5 // 9))
        seconds = time.perf_counter() - begin
        disk = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) - peer.empty_bytes
        small = [f"small-{number}" for number in range(plan["runs"])]
        peer.fill(small, make_losses(plan["each"]))
        process = process or peer.serve()
        wait_for(lambda: peer.is_loaded(["large", *small], plan))
        one_ms, (losses,) = time_reading(peer.read, ["large"])
        many_ms, _ = time_reading(peer.read, small)
        memory = read_memory(process.pid)
    finally:
        if process is not None:
            process.terminate()
            process.communicate()
    return {
        "rate": plan["records"] / seconds,
        "bytes": disk / plan["records"],
        "one_ms": one_ms,
        "many_ms": many_ms,
        "points": len(losses),
        "spikes": float(SPIKE in losses),
        "memory_mib": memory,
        "how": peer.how,
    }


def make_losses(count: int, spike_at: int = -1) -> list[float]:
    """Return the losses that ours gets too."""
    losses = [2.0 / (1 + i / 50_000) + 0.1 * math.sin(i * 12.9898) ** 2 for i in range(count)]
    if spike_at >= 0:
        losses[spike_at] = SPIKE
    return losses


def time_reading(read: Read, runs: list[str]) -> tuple[float, list[list[float]]]:
    """Return the median in ms, the first apart, which fills caches, and the last answer."""
    found = read(runs)
    times = []
    for _ in range(REQUESTS):
        begin = time.perf_counter()
        found = read(runs)
        times.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(times), found


def wait_for(look: Callable[[], bool]) -> None:
    """Look until it is there. Raises: TimeoutError."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        with suppress(OSError, ValueError, KeyError, IndexError):
            if look():
                return
        time.sleep(0.5)
    raise TimeoutError("the service did not show what was stored")


def fetch(url: str, body: bytes | None = None, kind: str = "application/json") -> Any:
    """Ask and return JSON."""
    request = urllib.request.Request(url, body, {"Content-Type": kind})
    with DIRECT.open(request, timeout=START_TIMEOUT_S) as answer:
        return json.loads(answer.read())


def take_port() -> int:
    """Return a port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def read_memory(pid: int) -> float:
    """Return the most memory that a process and those below it have held, in MiB."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    family, total = [pid], 0.0
    for member in family:
        family += [child for child, parent in parents.items() if parent == member]
        with suppress(OSError):
            lines = Path(f"/proc/{member}/status").read_text().splitlines()
            total += sum(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
    return total


class Tracker:
    """What all of them do."""

    serves_first = False
    how = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.empty_bytes = 0
        self.port = take_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def log(self, run: str, losses: list[float]) -> None:
        """Store a run; returns when it is durable."""
        raise NotImplementedError

    def fill(self, runs: list[str], losses: list[float]) -> None:
        """Store several alike."""
        for run in runs:
            self.log(run, losses)

    def serve(self) -> "subprocess.Popen[bytes]":
        """Start its service."""
        raise NotImplementedError

    def read(self, runs: list[str]) -> list[list[float]]:
        """Ask for the curves as its page does."""
        raise NotImplementedError

    def is_loaded(self, runs: list[str], plan: dict[str, Any]) -> bool:
        """Whether its service shows all of them."""
        return all(len(losses) > 1 for losses in self.read(runs))

    def start(self, *command: str, **more: str) -> "subprocess.Popen[bytes]":
        """Start a process that says nothing."""
        quiet = subprocess.DEVNULL
        return subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, env=os.environ | more)


class TensorBoard(Tracker):
    """Event files, which its service reads into a sample of each curve."""

    how = "torch's SummaryWriter; scalars and scalars_multirun, 1,000 points sampled while loading"

    def log(self, run: str, losses: list[float]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        writer = SummaryWriter(str(self.folder / "logs" / run), max_queue=1000)
        for step, loss in enumerate(losses):
            writer.add_scalar("loss", loss, step)
        writer.close()

    def fill(self, runs: list[str], losses: list[float]) -> None:
        self.log(runs[0], losses)
        for run in runs[1:]:
            shutil.copytree(self.folder / "logs" / runs[0], self.folder / "logs" / run)

    def serve(self) -> "subprocess.Popen[bytes]":
        told = ["--logdir", str(self.folder / "logs"), "--port", str(self.port), "--reload_interval", "2"]
        return self.start(str(BIN / "python"), "-m", "tensorboard.main", *told)

    def read(self, runs: list[str]) -> list[list[float]]:
        address = f"{self.url}/data/plugin/scalars/scalars"
        if len(runs) == 1:
            return [[value for _, _, value in fetch(f"{address}?run={runs[0]}&tag=loss")]]
        body = urllib.parse.urlencode([("tag", "loss"), *(("runs", run) for run in runs)]).encode()
        found = fetch(f"{address}_multirun", body, "application/x-www-form-urlencoded")
        return [[value for _, _, value in found[run]] for run in runs]

    def is_loaded(self, runs: list[str], plan: dict[str, Any]) -> bool:
        """Whether the last step of each is shown, which its sample always has."""
        for run in runs:
            last = (plan["records"] if run == "large" else plan["each"]) - 1
            if fetch(f"{self.url}/data/plugin/scalars/scalars?run={run}&tag=loss")[-1][1] != last:
                return False
        return True


class Trackio(Tracker):
    """A SQLite file for a project."""

    how = "trackio.log; get_logs_batch with 3,000 points, which is what its page asks for"

    def log(self, run: str, losses: list[float]) -> None:
        os.environ["TRACKIO_DIR"] = str(self.folder)
        import trackio

        trackio.init(project="bench", name=run)
        for loss in losses:
            trackio.log({"loss": loss})
        trackio.finish()

    def serve(self) -> "subprocess.Popen[bytes]":
        show = f"trackio.show('bench', open_browser=False, server_port={self.port}, host='127.0.0.1')"
        code = f"import trackio; {show}"
        return self.start(sys.executable, "-c", code, TRACKIO_DIR=str(self.folder))

    def read(self, runs: list[str]) -> list[list[float]]:
        asked = {"project": "bench", "runs": [{"run": run} for run in runs], "max_points": 3000}
        told = fetch(f"{self.url}/api/get_logs_batch", json.dumps(asked).encode())
        return [[log["loss"] for log in each["logs"] if "loss" in log] for each in told["data"]]


class MLflow(Tracker):
    """A service on SQLite that takes batches of metrics."""

    serves_first = True
    how = "log_batch of 1,000 metrics to its server on SQLite; get-history-bulk-interval with 320 points"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.ids: dict[str, str] = {}

    def serve(self) -> "subprocess.Popen[bytes]":
        store = f"sqlite:///{self.folder / 'mlflow.db'}"
        told = [
            "--backend-store-uri",
            store,
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--workers",
            "1",
        ]
        process = self.start(str(BIN / "python"), "-m", "mlflow", "server", *told)
        wait_for(lambda: DIRECT.open(f"{self.url}/health", timeout=5).status == 200)
        self.empty_bytes = sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())
        return process

    def log(self, run: str, losses: list[float]) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Metric

        client = MlflowClient(self.url)
        self.ids[run] = client.create_run("0", run_name=run).info.run_id
        for first in range(0, len(losses), 1000):
            part = enumerate(losses[first : first + 1000], first)
            metrics = [Metric("loss", loss, 1_700_000_000_000 + step * 10, step) for step, loss in part]
            client.log_batch(self.ids[run], metrics=metrics)

    def fill(self, runs: list[str], losses: list[float]) -> None:
        self.log(runs[0], losses)
        with closing(sqlite3.connect(self.folder / "mlflow.db", timeout=60)) as connection:
            for run in runs[1:]:
                self.log(run, losses[:1])
                for table in ("metrics", "latest_metrics"):
                    self._copy(connection, table, runs[0], run)

    def _copy(self, connection: sqlite3.Connection, table: str, source: str, target: str) -> None:
        names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        told = ", ".join("?" if name == "run_uuid" else name for name in names)
        copy = f"INSERT OR REPLACE INTO {table} SELECT {told} FROM {table} WHERE run_uuid = ?"
        connection.execute(copy, (self.ids[target], self.ids[source]))
        connection.commit()

    def read(self, runs: list[str]) -> list[list[float]]:
        query = [
            *(("run_ids", self.ids[run]) for run in runs),
            ("metric_key", "loss"),
            ("max_results", "320"),
        ]
        address = f"{self.url}/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval"
        metrics = fetch(f"{address}?{urllib.parse.urlencode(query)}")["metrics"]
        return [[m["value"] for m in metrics if m["run_id"] == self.ids[run]] for run in runs]


PEERS: Final[dict[str, Callable[[Path], Tracker]]] = {
    "TensorBoard": TensorBoard,
    "trackio": Trackio,
    "MLflow": MLflow,
}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
