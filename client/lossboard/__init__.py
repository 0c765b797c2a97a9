"""Lossboard's client: two lines in a training script, and its loss is on the board.

    import lossboard
    lossboard.watch(loss_func, train_ldr)

Importing this loads no third-party module, starts no thread, opens no file and reads no
environment.
"""

from lossboard.evaluation import evaluate
from lossboard.run import Run
from lossboard.starting import init, watch

__version__ = "0.1.0"

__all__ = ["Run", "__version__", "evaluate", "init", "watch"]
