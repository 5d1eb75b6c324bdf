"""How tests import the scripts of a demo, which lie outside the package."""

import importlib
import sys
from pathlib import Path

import pytest

DEMOS = Path(__file__).resolve().parents[3] / "demos"


@pytest.fixture
def load_demo(monkeypatch):
    """Return a function that imports a script; demos may have scripts of one name."""
    before = set(sys.modules)

    def load(demo: str, script: str):
        monkeypatch.syspath_prepend(DEMOS / demo)
        return importlib.import_module(script)

    yield load
    for name in set(sys.modules) - before:
        path = getattr(sys.modules[name], "__file__", None)
        if path and DEMOS in Path(path).parents:
            del sys.modules[name]


@pytest.fixture
def plain_graphs():
    """Leave XLA out, which compiles for minutes what a tiny study computes at once."""
    from tests.helpers import without_xla  # loads TensorFlow, which few tests need

    with without_xla():
        yield
