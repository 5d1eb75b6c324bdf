"""Tests of deepreg_meta/inspection/report.py."""

import pytest

from deepreg_meta.inspection.cases import CASE_COLUMNS, FILE_COLUMNS
from deepreg_meta.inspection.finding import Section, problems, warnings
from deepreg_meta.inspection.report import Check

SECTION = Section("Pairs", ("case", "Dice"), [("a", "0.5")])


def test_problems_are_counted_once_and_warnings_are_not():
    found = problems("bad", ["a", "b", "a"]) + warnings("odd", ["c"])
    assert Check([], found).num_problems == 2
    assert Check([SECTION], []).num_problems == 0


def test_a_report_without_data_is_one_file(tmp_path):
    folder = Check([SECTION], problems("bad", ["a file"])).write(tmp_path / "out")
    assert [path.name for path in folder.iterdir()] == ["check.md"]
    text = (folder / "check.md").read_text()
    assert text.startswith("# deepreg_check of deepreg_meta")
    assert "### bad (1)" in text and "| a | 0.5 |" in text


def test_a_report_on_files_documents_its_columns(tmp_path, data):
    from deepreg_meta.inspection.pair import check_files

    paths = [str(data / "train" / f"{s}_images" / "case0.nii.gz")
             for s in ("fixed", "moving")]  # fmt: skip
    report = check_files(*paths)
    check = Check(report.sections, [], [report.row], report.records, tiles=report.tiles)
    folder = check.write(tmp_path / "out")
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["cases.csv", "check.md", "files.csv", "overview.png"]
    text = (folder / "check.md").read_text()
    assert "![pairs before any network](overview.png)" in text
    for column in (*CASE_COLUMNS, *FILE_COLUMNS):
        assert f"| `{column}` |" in text


@pytest.mark.parametrize("name", ["check.md", "cases.csv"])
def test_an_older_report_is_replaced(tmp_path, name):
    (tmp_path / name).write_text("old")
    Check([SECTION], [], [{"case": "a"}]).write(tmp_path)
    assert "old" not in (tmp_path / name).read_text()
