"""Keras's `model.fit` on the board: `LossboardCallback`."""

from lossboard.keras.callback import LossboardCallback

__all__ = ["LossboardCallback"]
