"""What one `log` and one call of a watched loss may cost: counted, not timed."""

import gc
import sys
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lossboard
from lossboard.journal.reading import read_records
from lossboard.journal.slots import SLOT_BYTES
from records_service import RecordsService

Poll = Callable[..., None]
StartRun = Callable[..., lossboard.Run]
Record = Callable[[], object]

WARM_CALLS = 200  # the first calls open files, declare series and learn what a loss means
ROUNDS = 5  # of the sender: what it sends in one it acknowledges before the next
WAYS = ("log", "watch")
OURS = str(Path(lossboard.__file__).parent)
# What of the system one record may ask for. A new segment, each 65,536 records, asks for more.
SYSTEM_CALLS = {"write"}
CLOCKS = {"time", "datetime"}
SIGNALS = {"threading", "queue", "selectors", "socket", "_thread", "_queue", "_socket"}


class Script:
    """A run of a script and what records one value in it."""

    def __init__(self, run: lossboard.Run, way: str) -> None:
        self.run = run
        self.calls = 0
        self.record: Record = self._log
        if way == "watch":
            self._watch()

    def _log(self) -> None:
        self.run.log(0, self.calls, 0.25, 32)
        self.calls += 1

    def _watch(self) -> None:
        inputs, targets = torch.randn(4, 3), torch.tensor([0, 1, 2, 1])
        loader = DataLoader(TensorDataset(inputs, targets), batch_size=4)
        net, loss_func = nn.Linear(3, 3), nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
        lossboard.watch(loss_func, loader, run=self.run)
        self.iterator = iter(loader)  # held, so that the epoch goes on
        next(self.iterator)
        for _ in range(WARM_CALLS):
            optimizer.zero_grad()
            loss_func(net(inputs), targets).backward()
            optimizer.step()
        output = net(inputs)
        self.record = lambda: loss_func(output, targets)


@pytest.fixture(params=WAYS)
def script(request: pytest.FixtureRequest, state_folder: Path, start_run: StartRun) -> Script:
    """An offline run that is warm: no thread of ours works beside it."""
    script = Script(start_run(mode="offline"), request.param)
    for _ in range(WARM_CALLS):
        script.record()
    return script


class Seen(NamedTuple):
    """What Python called on this thread: functions in C by module and name, and its own by file."""

    in_c: Counter[tuple[str, str]]
    files: Counter[str]

    def of(self, *modules: str) -> Counter[str]:
        """Return the functions in C of some modules."""
        return Counter({name: n for (module, name), n in self.in_c.items() if module in modules})


def watch_calls(record: Record) -> Seen:
    """Call once and note every function that Python calls meanwhile."""
    seen = Seen(Counter(), Counter())

    def note(frame: FrameType, event: str, function: Any) -> None:
        if event == "c_call":
            # A method has no module of its own: that of its object's class.
            module = function.__module__ or type(function.__self__).__module__
            seen.in_c[module, function.__name__] += 1
        elif event == "call":
            seen.files[frame.f_code.co_filename] += 1

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        record()
    finally:
        sys.setprofile(before)
    assert any(name.startswith(OURS) for name in seen.files), "our own code was not seen"
    return seen


def journal_of(state_folder: Path) -> Path:
    (folder,) = (state_folder / "journal").iterdir()
    return folder


def journal_bytes(state_folder: Path) -> int:
    return sum(path.stat().st_size for path in journal_of(state_folder).glob("*.seg"))


def test_record_is_one_write_and_asks_the_system_for_nothing_else(script: Script, state_folder: Path) -> None:
    size = journal_bytes(state_folder)
    asked = watch_calls(script.record).of("posix", "nt")
    assert journal_bytes(state_folder) == size + SLOT_BYTES
    assert asked["write"] <= 1
    assert set(asked) <= SYSTEM_CALLS


def test_record_reads_the_clock_once(script: Script, state_folder: Path) -> None:
    before = time.time()
    clocks = watch_calls(script.record).of(*CLOCKS)
    *_, (_, newest) = read_records(journal_of(state_folder))
    assert newest is not None
    assert before <= newest.time <= time.time()
    assert sum(clocks.values()) <= 1
    assert set(clocks) <= {"time"}


def test_record_is_not_encoded_as_json(script: Script) -> None:
    seen = watch_calls(script.record)
    assert not [name for name in seen.files if Path(name).parent.name == "json"]
    assert not seen.of("_json", "json")


def test_record_signals_nobody(script: Script) -> None:
    seen = watch_calls(script.record)
    assert not [name for name in seen.files if Path(name).stem in SIGNALS]
    assert set(seen.of(*SIGNALS)) <= {"__enter__", "__exit__"}  # of the lock that scripts' threads share


def measure_memory() -> int:
    gc.collect()  # what waits for it is no growth
    return tracemalloc.get_traced_memory()[0]


@pytest.mark.parametrize(("way", "calls"), [("log", 100_000), ("watch", 20_000)])
def test_memory_does_not_grow_by_records(start_run: StartRun, way: str, calls: int) -> None:
    script = Script(start_run(mode="offline"), way)
    record = script.record
    tracemalloc.start()
    try:
        for _ in range(WARM_CALLS):
            record()
        before = measure_memory()
        for _ in range(calls):
            record()
        grown = measure_memory() - before
    finally:
        tracemalloc.stop()
    # A pointer kept of each record would be 8 bytes of it.
    assert grown < calls, f"{grown} bytes in {calls} records"


@pytest.mark.parametrize("way", WAYS)
def test_record_is_made_wherever_the_sender_stands(
    service: RecordsService, start_run: StartRun, poll: Poll, way: str
) -> None:
    """Stop the sender at each of its lines in turn, and record: a lock that both need would wait for ever."""
    stuck: list[str] = []
    passed: set[tuple[str, int]] = set()
    is_watched = threading.Event()
    with ThreadPoolExecutor(1, "script") as thread:

        def stop_at(frame: FrameType, event: str, _: Any) -> Any:
            if not frame.f_code.co_filename.startswith(OURS):
                return None
            place = frame.f_code.co_filename, frame.f_lineno
            if event == "line" and is_watched.is_set() and not stuck and place not in passed:
                passed.add(place)
                try:
                    thread.submit(script.record).result(timeout=5)
                except TimeoutError:
                    stuck.append(f"{Path(place[0]).name}:{place[1]} in {frame.f_code.co_name}")
            return stop_at

        def trace(frame: FrameType, event: str, argument: Any) -> Any:
            is_sender = threading.current_thread().name == "lossboard-sender"
            return stop_at(frame, event, argument) if is_sender else None

        threading.settrace(trace)
        try:
            run = start_run()
        finally:
            threading.settrace(None)  # type: ignore[arg-type]
        script = Script(run, way)
        is_watched.set()
        for _ in range(ROUNDS):
            delivered = len(service.rows)
            thread.submit(script.record)
            poll(lambda before=delivered: stuck or len(service.rows) > before, timeout_s=30)
        is_watched.clear()
    assert len({Path(file) for file, _ in passed}) > 1, "the sender was not seen"
    assert not stuck, f"a record waits for the sender, which stands at {stuck[0]}"
