"""What runs in a reader process: it opens the database for itself and draws what the service asks it for.

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
from typing import Any, BinaryIO, Final, NamedTuple

from lossboard_server.errors import LossboardError
from lossboard_server.store.reader import Reader

FRAME: Final = struct.Struct("<Q")

Draw = Callable[..., Any]
"""A module's function of a reader and other arguments. These can be pickled, as can what it returns."""


class Answer(NamedTuple):
    """What is sent back."""

    value: Any
    error: Exception | None = None
    is_damaged: bool = False
    """Whether damage of the database was met, now or before."""


def main() -> None:
    """Answer until the input ends."""
    # Whoever stops all processes of a service at once finds this one drawing to the end.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # What a library prints must not stand between the frames, and the service logs what it is told.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    logging.getLogger("lossboard_server").addHandler(logging.NullHandler())
    try:
        _serve(sys.stdin.buffer, answers)
    except BrokenPipeError:  # the service was killed while this was drawing
        os._exit(0)


def _serve(questions: BinaryIO, answers: BinaryIO) -> None:
    url = _read(questions)
    if url is None:
        return
    try:
        reader = Reader.open(url)
        with reader.look():
            opened = Answer(None)
    except Exception as error:
        _write(answers, _as_answer(error))
        return
    _write(answers, opened)
    while (question := _read(questions)) is not None:
        draw, arguments = question
        try:
            answer = Answer(draw(reader, *arguments))
        except Exception as error:
            answer = _as_answer(error)
        _write(answers, answer._replace(is_damaged=reader.condition.storage == "damaged"))
    reader.close()


def _read(questions: BinaryIO) -> Any:
    """Read a frame; None at the end of all."""
    head = questions.read(FRAME.size)
    if len(head) < FRAME.size:
        return None
    (size,) = FRAME.unpack(head)
    return pickle.loads(questions.read(size))


def _write(answers: BinaryIO, answer: Answer) -> None:
    frame = pickle.dumps(tuple(answer), pickle.HIGHEST_PROTOCOL)  # its class is __main__'s here
    answers.write(FRAME.pack(len(frame)) + frame)
    answers.flush()


def _as_answer(error: Exception) -> Answer:
    """Return an error as it can be sent: one of ours as it is, others with where they came from."""
    if isinstance(error, LossboardError):
        return Answer(None, error)
    told = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return Answer(None, RuntimeError(told))
    error.add_note("In a reader process:\n" + told)
    return Answer(None, error)


if __name__ == "__main__":
    main()
