"""A helper process: it opens the database for itself and draws what the service asks it for.

It is asked on its standard input and answers on its standard output, by frames: a length of 8 bytes and so
many bytes of a pickle. It ends with its input, so also when the service was killed.
"""

import logging
import os
import pickle
import signal
import struct
import sys
import traceback
from collections.abc import Callable
from typing import Any, BinaryIO, Final

from lossboard_server.store.reader import Reader

FRAME: Final = struct.Struct("<Q")

Draw = Callable[..., Any]
"""Takes a reader and arguments that can be pickled, as its answer."""


def main() -> None:
    """Answer until the input ends."""
    # Whoever stops all processes of a service at once finds this one drawing to the end.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # What a library prints must not stand between the frames, and the service logs what it is told.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    logging.getLogger("lossboard_server").addHandler(logging.NullHandler())
    questions = sys.stdin.buffer
    url = _read(questions)
    if url is None:
        return
    try:
        reader = Reader.open(url)
        with reader.look():
            _write(answers, _pack(None))
    except Exception as error:
        _write(answers, _pack_error(error))
        return
    while (question := _read(questions)) is not None:
        draw, arguments = question
        try:
            answer = _pack(draw(reader, *arguments))
        except Exception as error:
            answer = _pack_error(error)
        _write(answers, answer)
    reader.close()


def _read(questions: BinaryIO) -> Any:
    """Read a frame; None at the end of all."""
    head = questions.read(FRAME.size)
    if len(head) < FRAME.size:
        return None
    (size,) = FRAME.unpack(head)
    return pickle.loads(questions.read(size))


def _write(answers: BinaryIO, answer: bytes) -> None:
    answers.write(FRAME.pack(len(answer)) + answer)
    answers.flush()


def _pack(answer: Any) -> bytes:
    return pickle.dumps((True, answer), pickle.HIGHEST_PROTOCOL)


def _pack_error(error: Exception) -> bytes:
    error.add_note("In a helper process:\n" + "".join(traceback.format_exception(error)))
    try:
        packed = pickle.dumps((False, error), pickle.HIGHEST_PROTOCOL)
        pickle.loads(packed)
    except Exception:  # an error of somebody else's that can't be sent
        packed = pickle.dumps((False, RuntimeError("".join(traceback.format_exception(error)))))
    return packed


if __name__ == "__main__":
    main()
