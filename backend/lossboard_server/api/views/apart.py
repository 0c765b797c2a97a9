"""A helper process: it opens the database for itself and draws what the service asks it for.

It is asked on its standard input and answers on its standard output, by frames: a length of 8 bytes and so
many bytes of a pickle. It ends with its input, so also when the service was killed.
"""

import logging
import os
import pickle
import struct
import sys
import traceback
from collections.abc import Callable
from typing import Any, BinaryIO, Final

from lossboard_server.store.reader import Reader

FRAME: Final = struct.Struct("<Q")

Draw = Callable[..., Any]


def main() -> None:
    """Answer until the input ends."""
    # What a library prints must not stand between the frames.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    logging.getLogger("lossboard_server").addHandler(
        logging.NullHandler()
    )  # the service logs what it is told
    questions = sys.stdin.buffer
    url = _read(questions)
    if url is None:
        return
    reader = Reader.open(url)
    answer = _attempt(_look, reader, ())
    while True:
        answers.write(FRAME.pack(len(answer)) + answer)
        answers.flush()
        question = _read(questions)
        if question is None:
            break
        draw, arguments = question
        answer = _attempt(draw, reader, arguments)
    reader.close()


def _look(reader: Reader) -> None:
    with reader.look():
        pass


def _read(questions: BinaryIO) -> Any:
    """Read a frame; None at the end of all."""
    head = questions.read(FRAME.size)
    if len(head) < FRAME.size:
        return None
    (size,) = FRAME.unpack(head)
    return pickle.loads(questions.read(size))


def _attempt(draw: Draw, reader: Reader, arguments: tuple[Any, ...]) -> bytes:
    """Return, as a pickle, whether it was drawn, and the answer or the error."""
    try:
        return pickle.dumps((True, draw(reader, *arguments)), pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        error.add_note("In a helper process:\n" + traceback.format_exc())
        try:
            told = pickle.dumps((False, error), pickle.HIGHEST_PROTOCOL)
            pickle.loads(told)
        except Exception:  # an error of somebody else's that can't be sent
            told = pickle.dumps((False, RuntimeError(traceback.format_exc())))
        return told


if __name__ == "__main__":
    main()
