"""How tests import the benchmarks, which lie outside the package."""

import importlib
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[3] / "bench"


@pytest.fixture
def load(monkeypatch):
    """Return a function that imports a file of bench/ by its name."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(BENCH)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        path = getattr(sys.modules[name], "__file__", None)
        if path and Path(path).parent == BENCH:
            del sys.modules[name]


@pytest.fixture
def table_of(load):
    """Return a function that runs a part quickly and gives rows as dictionaries."""

    def run(name: str) -> list[dict]:
        table = load(name).run(quick=True)
        return [dict(zip(table.columns, row, strict=True)) for row in table.rows]

    return run
