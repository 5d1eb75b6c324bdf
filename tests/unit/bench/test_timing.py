"""Tests of bench/timing.py."""

import csv
import platform
import time

import numpy as np
import pytest


@pytest.fixture
def timing(load):
    """:return: the module."""
    return load("timing")


def test_calls_are_taken_in_turn_and_the_warm_up_is_not_counted(timing):
    order = []
    calls = {name: lambda name=name: order.append(name) for name in "abc"}
    found = timing.interleave(calls, repeats=2, warm_up=1)
    assert "".join(order) == "abcabcabc"
    assert list(found) == ["a", "b", "c"]
    assert all(seconds.shape == (2,) for seconds in found.values())


def test_each_call_gets_its_own_seconds(timing):
    """The second round of `b` sleeps, nothing else does."""
    naps = iter([0.0, 0.3])
    calls = {"a": lambda: None, "b": lambda: time.sleep(next(naps))}
    found = timing.interleave(calls, repeats=2, warm_up=0)
    assert found["b"][1] >= 0.3
    assert max(found["a"].max(), found["b"][0]) < 0.3


def test_results_are_waited_for_wherever_they_lie(timing):
    class Late:
        def numpy(self):
            time.sleep(0.2)

    calls = {"a": lambda: {"x": [Late()], "y": (Late(), 1)}}
    assert timing.interleave(calls, repeats=1)["a"][0] >= 0.4


def test_a_ratio_is_that_of_pairs_not_of_medians(timing):
    """The ratios are 1 to 11; the medians are 11 and 1."""
    b = np.where(np.arange(11) % 2, 9.0, 1.0)
    a = b * np.arange(1.0, 12)
    assert np.median(a) / np.median(b) == 11
    assert timing.ratio(a, b) == "6.00 (2.00 to 10.0)"
    assert timing.paired(b, a).middle == pytest.approx(1 / 6)


@pytest.mark.parametrize(
    "value, text",
    [(0.0, "0"), (1.0649, "1.06"), (225.14, "225"), (1035.6, "1036"), (99.96, "100"),
     (0.00381, "0.00381"), (-12.34, "-12.3"), (float("nan"), "nan")],
)  # fmt: skip
def test_numbers_have_three_digits_or_all_before_the_point(timing, value, text):
    assert timing.number(value) == text


@pytest.fixture
def table(timing):
    """:return: a table with a spread, a number and a cell that is empty."""
    table = timing.Table("Steps", {"what": "", "time": "ms", "share": "%"}, "A note.")
    table.add("a, b", timing.Spread(225.1, 220.0, 231.9), 97.125)
    table.add("c", None, 3)
    return table


def test_markdown_has_units_and_spreads_in_one_cell(table):
    assert table.markdown().splitlines() == [
        "### Steps",
        "",
        "| what | time (ms) | share (%) |",
        "| --- | --- | --- |",
        "| a, b | 225 (220 to 232) | 97.1 |",
        "| c |  | 3 |",
        "",
        "A note.",
    ]


def test_csv_has_all_digits_and_spreads_in_three_columns(table):
    rows = list(csv.reader(table.csv().splitlines()))
    assert rows == [
        ["what", "time (ms)", "time_10th (ms)", "time_90th (ms)", "share (%)"],
        ["a, b", "225.1", "220.0", "231.9", "97.125"],
        ["c", "", "", "", "3"],
    ]


def test_a_written_table_is_two_whole_files(table, tmp_path):
    table.write(tmp_path / "results", "steps")
    written = {path.name: path.read_text() for path in (tmp_path / "results").iterdir()}
    assert written == {"steps.csv": table.csv(), "steps.md": table.markdown()}


def test_a_row_of_another_length_is_refused(table):
    with pytest.raises(ValueError, match=r"Steps: expected 3 cells, got \('d', 1\)"):
        table.add("d", 1)


def test_the_machine_is_told_without_names_of_hosts_or_folders(timing):
    facts = timing.machine()
    assert int(facts["cores"]) >= 1
    assert float(facts["memory (GiB)"]) > 0
    assert facts["Python"] == platform.python_version()
    assert facts["DeepReg"] == "0.1.2"
    text = " ".join(facts.values())
    assert platform.node() not in text.split()
    assert "/home" not in text and str(timing.Path.cwd()) not in text
