"""Lossboard's service: stores what training scripts send and draws it in a browser."""

__version__ = "0.1.0"
