"""A loop that logs, and notes by itself what `log` returned for and how long each call took.

    loop.py COUNT --epoch E --records N --pace-s S --stop FILE --hold --deadline-s S --hang-dns

After each call that returned, the number of calls so far is written to COUNT in one piece, so that a kill
at any moment leaves what was promised. The loop ends after N records, or when FILE is there; with
--hold not before FILE is.
"""

import argparse
import json
import os
import struct
import time
from pathlib import Path

import lossboard

LOOK_EVERY = 20  # records between two looks for FILE


def main() -> None:
    """Log, finish, and print what the calls took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("count", type=Path)
    parser.add_argument("--epoch", type=int, default=0)
    parser.add_argument("--records", type=int, default=10**9)
    parser.add_argument("--pace-s", type=float, default=0.001)
    parser.add_argument("--stop", type=Path)
    parser.add_argument("--hold", action="store_true")
    parser.add_argument("--deadline-s", type=float, default=3.0)
    parser.add_argument("--hang-dns", action="store_true")
    options = parser.parse_args()
    if options.hang_dns:
        hang_dns()
    run = lossboard.init()
    took_us = log_all(run, options)
    while options.hold and not options.stop.exists():
        time.sleep(0.02)
    began = time.monotonic()
    run.finish(deadline_s=options.deadline_s)
    finish_s = time.monotonic() - began
    took_us.sort()
    about = {"logged": len(took_us), "finish_s": round(finish_s, 3), "dropped": run._faults.counts()}
    for name, part in (("p50_us", 0.5), ("p99_us", 0.99), ("max_us", 1.0)):
        about[name] = round(took_us[min(len(took_us) - 1, int(len(took_us) * part))], 1)
    print(json.dumps(about))


def log_all(run, options) -> list[float]:
    """Log as fast as the pace allows; a loss is its epoch and batch in one number."""
    took_us = []
    count = os.open(options.count, os.O_WRONLY | os.O_CREAT, 0o600)
    for batch in range(options.records):
        began = time.perf_counter()
        run.log(options.epoch, batch, float(options.epoch * 10**6 + batch), 4)
        took_us.append((time.perf_counter() - began) * 1e6)
        os.pwrite(count, struct.pack("<q", batch + 1), 0)
        if options.stop and batch % LOOK_EVERY == 0 and options.stop.exists():
            break
        if options.pace_s:
            time.sleep(options.pace_s)
    return took_us


def hang_dns() -> None:
    """Let every look-up of a name hang, as a resolver does whose server is gone."""
    import socket

    socket.getaddrinfo = lambda *_, **__: time.sleep(600)


if __name__ == "__main__":
    main()
