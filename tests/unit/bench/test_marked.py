"""Tests of bench/marked.py."""

import importlib
import sys
from types import ModuleType

import pytest


@pytest.fixture
def marked(load):
    """:return: the module."""
    return load("marked")


def test_every_stage_ends_with_a_function_that_exists(marked):
    """A renamed one would leave the start-up without a figure."""
    for stages in marked.STAGES.values():
        for place in stages:
            module, _, path = place.partition(":")
            found = importlib.import_module(module)
            for name in path.split("."):
                found = getattr(found, name)
            assert callable(found), place


def test_a_watched_function_marks_each_return_and_works_as_before(marked, monkeypatch):
    module, seen = ModuleType("watched"), []

    class Owner:
        def method(self, number):
            seen.append(number)
            return 2 * number

    module.Owner = Owner
    monkeypatch.setitem(sys.modules, "watched", module)
    marked.watch("watched:Owner.method", lambda: seen.append("mark"))
    assert Owner().method(3) == 6
    assert Owner().method(4) == 8
    assert seen == [3, "mark", 4, "mark"]
