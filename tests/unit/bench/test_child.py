"""Tests of bench/child.py."""

import os

import pytest

MODULE = """
import os
import deepreg_meta

def measure(numbers, fails=False):
    if fails:
        raise MemoryError("too much")
    given = os.environ.get("GIVEN_TO_CHILD")
    return dict(process=os.getpid(), numbers=numbers, given=given)
"""


@pytest.fixture
def measured(load, tmp_path, monkeypatch):
    """:return: the function; a module `own` can be measured by it."""
    (tmp_path / "own.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return load("child").measured


def test_a_fresh_measurement_is_another_process_that_finds_the_package(measured):
    found = measured("own", quick=False, numbers=(1, 2.5))
    assert found.pop("process") != os.getpid()
    assert found == dict(numbers=[1, 2.5], given=None)


def test_a_process_is_given_variables_of_its_own(measured):
    found = measured("own", False, variables={"GIVEN_TO_CHILD": "7"}, numbers=[])
    assert found["given"] == "7"
    assert "GIVEN_TO_CHILD" not in os.environ


def test_a_process_that_fails_tells_how(measured, load):
    with pytest.raises(load("child").ChildError, match="own: exit status 1.(.|\n)*too"):
        measured("own", quick=False, numbers=[], fails=True)
