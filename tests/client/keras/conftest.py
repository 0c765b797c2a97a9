"""Keras on its torch backend, and strict offline callbacks."""

import os

import pytest

import lossboard


@pytest.fixture(scope="module")
def keras(tmp_path_factory):
    """Keras on torch, imported late, and the environment left as it was, for the sake of the other tests."""
    told = {"KERAS_BACKEND": "torch", "KERAS_HOME": str(tmp_path_factory.mktemp("keras"))}
    before = {name: os.environ.get(name) for name in told}
    os.environ.update(told)
    try:
        import keras
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    return keras


@pytest.fixture
def callback(keras, board):
    """Make strict offline callbacks."""
    from lossboard.keras import LossboardCallback

    def make(**options):
        if not isinstance(options.get("run"), lossboard.Run):
            options = {"mode": "offline", "strict": True, "dir": board._folder, **options}
        return LossboardCallback(**options)

    return make
