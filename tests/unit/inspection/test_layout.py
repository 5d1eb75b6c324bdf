"""Tests of deepreg_meta/inspection/layout.py."""

import pytest

from deepreg_meta.inspection import layout
from deepreg_meta.inspection.finding import Section, problems, warnings

TABLE = Section(
    "Pairs",
    ("case", "Dice", "axes"),
    [("case1", "0.5", "RAS"), ("case22", "0.75", "-"), ("case3", "-", "LPS")],
    ["What it means."],
)


def test_words_stand_at_the_left_and_numbers_at_the_right():
    assert layout.terminal([TABLE], warnings("odd", ["x"])).splitlines()[:6] == [
        "Pairs",
        "  case    Dice  axes",
        "  case1    0.5  RAS",
        "  case22  0.75  -",
        "  case3      -  LPS",
        "  What it means.",
    ]


def test_problems_come_before_warnings_at_the_end_with_their_numbers():
    found = warnings("odd", ["w"]) + problems("bad", ["p", "q"])
    text = layout.terminal([TABLE], found)
    lines = text[text.index("2 problems") :].splitlines()
    assert lines == ["2 problems", "  bad (2)", "  - p", "  - q", "", "1 warning",
                     "  odd", "  - w"]  # fmt: skip


@pytest.mark.parametrize(("make", "shown"), [(problems, 10), (warnings, 3)])
def test_many_findings_of_a_kind_are_cut_in_the_terminal_only(make, shown):
    found = make("kind", [f"file{i}." for i in range(14)])
    text, whole = layout.terminal([], found), layout.markdown([], found)
    assert text.count("- file") == shown
    assert f"... and {14 - shown} more" in text
    assert whole.count("- file") == 14 and "more" not in whole


def test_no_line_is_longer_than_a_hundred_columns():
    """Wide cells lose their fronts, long texts are broken."""
    wide = Section(
        "Files", ("a", "b"), [("/long" * 30 + "/end", "x" * 60)], ["w " * 90]
    )
    found = problems("bad", ["word " * 60])
    lines = layout.terminal([wide], found).splitlines()
    assert max(map(len, lines)) <= layout.WIDTH
    assert any("/end" in line and "..." in line for line in lines)


def test_a_path_in_a_finding_is_never_broken():
    path = "/data" * 30 + "/case.nii.gz"
    text = layout.terminal([], problems("bad", [f"{path}: expected better"]))
    assert f"- {path}: " in text.replace("\n    ", " ")


def test_a_check_without_findings_says_so():
    assert layout.terminal([], []) == "Nothing was found that would stop a run."
    assert "Nothing was found" in layout.markdown([TABLE], [])


def test_a_table_in_markdown_keeps_its_cells_apart():
    section = Section("Files", ("name", "what"), [("a|b", "c\nd")], ["Note."])
    assert layout.section_markdown(section).splitlines() == [
        "## Files", "", "| name | what |", "| --- | --- |", "| a\\|b | c d |", "",
        "Note.",
    ]  # fmt: skip


def test_numbers_take_a_plural():
    assert [layout.count(n, "problem") for n in (0, 1, 2)] == [
        "0 problems",
        "1 problem",
        "2 problems",
    ]


def test_a_text_that_is_cut_keeps_its_end():
    assert layout.shorten("/data/train/case1.nii", 12) == "...case1.nii"
    assert layout.shorten("short", 5) == "short"
