"""What Lossboard leaves alone in its host: the import brings nothing, and a run changes no global."""

import lossboard
from interpreters import run_script
from records_service import RecordsService


def test_public_names_are_complete_and_sorted() -> None:
    assert lossboard.__all__ == sorted(lossboard.__all__)
    assert set(lossboard.__all__) == {"Run", "__version__", "evaluate", "init", "watch"}
    assert all(hasattr(lossboard, name) for name in lossboard.__all__)


def test_import_loads_nothing_foreign_and_starts_nothing() -> None:
    script = """
import sys, threading
before = set(sys.modules)
opened = []
sys.addaudithook(lambda event, args: opened.append(args[0]) if event == "open" else None)
import os
environ, os.environ = os.environ, None
import lossboard
os.environ = environ
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
foreign = loaded - set(sys.stdlib_module_names) - {"lossboard"}
assert not foreign, foreign
assert threading.active_count() == 1
# Modules are read; files of anything else are not.
assert not [path for path in opened if not str(path).endswith((".py", ".pyc"))], opened
heavy = {"http", "json", "ssl", "logging", "socket", "asyncio", "dataclasses"} & loaded
assert not heavy, heavy
"""
    done = run_script(script)
    assert done.returncode == 0, done.stderr


def test_globals_of_the_process_are_as_they_were(service: RecordsService) -> None:
    script = """
import faulthandler, gc, locale, logging, os, random, signal, sys, threading, time, tracemalloc, warnings
import numpy, torch, lossboard
from torch import nn

def look():
    signals = [signal.getsignal(number) for number in signal.valid_signals()]
    return {
        "hooks": (sys.excepthook, sys.unraisablehook, sys.displayhook, threading.excepthook),
        "profile": (sys.gettrace(), sys.getprofile(), threading.gettrace()),
        "signals": signals, "itimer": signal.getitimer(signal.ITIMER_REAL),
        "random": (random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist()),
        "logging": (list(logging.root.handlers), logging.root.level, logging.getLogger("lossboard").handlers),
        "warnings": list(warnings.filters), "locale": locale.setlocale(locale.LC_ALL), "cwd": os.getcwd(),
        "umask": (os.umask(0o22), os.umask(0o22))[1], "environ": dict(os.environ), "argv": list(sys.argv),
        "path": list(sys.path), "switch": sys.getswitchinterval(), "recursion": sys.getrecursionlimit(),
        "threads": [thread.name for thread in threading.enumerate()],
        "fds": sorted(os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
                      if os.path.exists(f"/proc/self/fd/{fd}")),
        "gc": (gc.isenabled(), gc.get_threshold(), gc.callbacks), "numpy": numpy.geterr(),
        "torch": (torch.get_default_dtype(), torch.is_grad_enabled(), torch.is_inference_mode_enabled(),
                  torch.backends.cudnn.enabled, torch.backends.cudnn.benchmark, torch.get_num_threads(),
                  torch.are_deterministic_algorithms_enabled(), torch.is_anomaly_enabled(),
                  torch.get_float32_matmul_precision(), str(torch.get_default_device())),
        "excepted": (getattr(sys, "last_value", None), faulthandler.is_enabled(), tracemalloc.is_tracing()),
        "stdio": (sys.stdout, sys.stderr, sys.stdin),
    }

def train(watch):
    loss, net = nn.CrossEntropyLoss(), nn.Linear(4, 3)
    items = torch.utils.data.TensorDataset(torch.ones(8, 4), torch.zeros(8).long())
    loader = torch.utils.data.DataLoader(items, 4)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    run = watch(loss, loader)
    for x, y in loader:
        optimizer.zero_grad()
        loss(net(x), y).backward()
        optimizer.step()
    loss(net(torch.ones(4, 4)), torch.zeros(4).long())
    return run, loader, loss

class Nothing:
    def finish(self, **_): pass

torch.manual_seed(1)
train(lambda *_: Nothing())  # what torch itself sets up with the first step
torch.manual_seed(1)
train(lambda *_: Nothing())
alone = look()
torch.manual_seed(1)
run, loader, loss = train(lambda *watched: lossboard.watch(*watched, strict=True))
run.finish(deadline_s=10)
watched = look()
assert alone.keys() == watched.keys()
differing = {key: (alone[key], watched[key]) for key in alone if alone[key] != watched[key]}
assert not differing, differing
assert type(loader) is torch.utils.data.DataLoader and not loss._forward_hooks
"""
    done = run_script(script, timeout_s=60)
    assert done.returncode == 0, done.stderr
