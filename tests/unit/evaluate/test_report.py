"""Laws, values and errors of deepreg_meta.evaluate.report."""

import logging

import numpy as np
import pandas as pd
import pytest

from deepreg_meta.evaluate import report

CASES = [
    {
        "case": f"case{i}",
        "dsc_before": 0.7 + 0.1 * i,
        "dsc_unadapted": 0.7,
        "dsc_adapted": 0.9,
        "tre_before_mm": 4.0 + i,
        "tre_unadapted_mm": None,
        "tre_adapted_mm": 2.0,
        "folds_adapted": 0.015,
        "seconds": 3.0,
    }
    for i in range(3)
]
LANDMARKS = [
    {"case": "case0", "landmark": "1", "tre_adapted_mm": 2.5, "lost_adapted": True},
    {"case": "case0", "landmark": "2", "tre_adapted_mm": 3.5, "lost_adapted": False},
]


def test_a_csv_file_reads_back_what_was_written(tmp_path):
    path = report.write_csv(tmp_path / "new" / "cases.csv", CASES)
    read = pd.read_csv(path)
    assert list(read.columns) == list(CASES[0])
    np.testing.assert_allclose(read["dsc_before"], [0.7, 0.8, 0.9])
    assert read["tre_unadapted_mm"].isna().all()


def test_cells_hold_flags_as_numbers_and_missing_values_as_nothing(tmp_path):
    row = {"case": "a,b", "n": np.int64(1234567), "mean": np.float32(0.1)}
    row |= {"sd": float("nan"), "lost_before": np.True_, "median": 1 / 3}
    path = report.write_csv(tmp_path / "r.csv", [row])
    assert path.read_text().splitlines()[1] == '"a,b",1234567,0.1,,1,0.333333'


def test_voxels_are_never_called_mm_in_a_file(tmp_path):
    path = report.write_csv(tmp_path / "cases.csv", CASES, unit="voxels")
    header = path.read_text().splitlines()[0]
    assert "tre_before_vox" in header and "_mm" not in header


def test_a_failing_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = report.write_csv(tmp_path / "cases.csv", CASES)
    before = path.read_text()

    def fail(*_):
        raise OSError("disk")

    monkeypatch.setattr(report.os, "replace", fail)
    with pytest.raises(OSError, match="disk"):
        report.write_csv(path, CASES[:1])
    assert path.read_text() == before
    assert [file.name for file in tmp_path.iterdir()] == ["cases.csv"]


def test_a_file_without_rows_needs_columns(tmp_path):
    with pytest.raises(ValueError, match="expected rows or columns"):
        report.write_csv(tmp_path / "a.csv", [])
    path = report.write_csv(tmp_path / "a.csv", [], columns=["case", "landmark"])
    assert path.read_text() == "case,landmark\n"


def test_a_key_without_column_is_refused_and_an_undocumented_one_warned_of(
    tmp_path, caplog
):
    with pytest.raises(ValueError, match=r"keys \['dsc'\] that no column"):
        report.write_csv(tmp_path / "a.csv", [{"case": 1, "dsc": 1}], columns=["case"])
    with caplog.at_level(logging.WARNING):
        report.write_csv(tmp_path / "a.csv", [{"cse": 1}])
    assert "'cse' is not documented" in caplog.text


def test_the_columns_are_explained_beside_the_files(tmp_path):
    text = report.write_columns(tmp_path / "voxels.md", ["hd95_adapted_mm"], "voxels")
    assert "| `hd95_adapted_vox` |" in text.read_text()
    assert "_mm" not in text.read_text() and "voxels" in text.read_text()
    text = report.write_columns(tmp_path / "columns.md").read_text()
    assert all(f"| `{name}` |" in text for name in report.COLUMNS)


def test_a_summary_describes_each_column_of_numbers():
    table = report.summary_table(CASES, unit="voxels")
    assert table.loc["dsc_before"].tolist() == pytest.approx(
        [3, 0.8, 0.1, 0.8, 0.75, 0.85]
    )
    assert table.loc["tre_before_vox", "mean"] == 5.0
    assert "case" not in table.index and "tre_unadapted_vox" not in table.index


def test_a_summary_is_written_as_a_documented_file(tmp_path, caplog):
    table = report.summary_table(CASES, ["dsc_adapted"])
    path = report.write_summary(tmp_path / "summary.csv", table)
    assert path.read_text().splitlines()[1] == "dsc_adapted,3,0.9,0,0.9,0.9,0.9"
    assert not caplog.records


def test_the_terminal_shows_mean_sd_and_median_by_stage_in_80_columns():
    text = report.format_terminal(CASES, LANDMARKS, unit="voxels", title="phantom")
    lines = text.splitlines()
    assert lines[0] == "phantom"
    assert lines[1].split() == ["n", "before", "unadapted", "adapted"]
    assert lines[2].split()[:5] == ["Dice", "3", "0.800", "+/-", "0.100"]
    assert lines[3].split() == ["median", "0.800", "0.700", "0.900"]
    landmark = next(line for line in lines if line.startswith("TRE, landmark (voxels)"))
    assert landmark.split()[3:] == ["2", "-", "-", "3.00", "+/-", "0.71"]
    lost = next(line for line in lines if "lost" in line)
    assert lost.split()[3:] == ["2", "-", "-", "1"]
    assert any("folds (%)" in line and "1.50 +/-" in line for line in lines)
    assert lines[-1] == "seconds per case: 3.00 +/- 0.00, median 3.00"
    assert max(map(len, lines)) <= 80


def test_columns_of_the_terminal_stay_apart_for_huge_errors():
    rows = [{"tre_before_mm": v, "tre_adapted_mm": v} for v in (123.456, 9876.5)]
    text = report.format_terminal(rows)
    assert "5000 +/- 6896 " in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_stage_without_any_value_has_no_column():
    header = report.format_terminal([{"dsc_before": 0.5, "dsc_unadapted": 0.6}])
    assert header.splitlines()[0].split() == ["n", "before", "unadapted"]


def test_the_terminal_refuses_another_unit():
    with pytest.raises(ValueError, match="got 'cm'"):
        report.format_terminal(CASES, unit="cm")


def test_the_terminal_shows_the_baseline_below_its_metric():
    rows = [
        {"case": f"c{i}", "dsc_before": 0.5, "dsc_adapted": 0.9, "dsc_centroids": dsc}
        for i, dsc in enumerate((0.7, 0.8))
    ]
    lines = report.format_terminal(rows).splitlines()
    index = next(i for i, line in enumerate(lines) if "centroids aligned" in line)
    assert lines[index].split()[-3:] == ["0.750", "+/-", "0.071"]
    assert lines[index - 2].startswith("Dice")
    assert all(len(line) <= 80 for line in lines)
