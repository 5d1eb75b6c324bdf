"""Tests of deepreg_meta/inspection/cases.py."""

from dataclasses import replace

import pandas as pd
import pytest

from deepreg_meta.inspection.cases import (
    CASE_COLUMNS,
    FILE_COLUMNS,
    file_row,
    volumes_ml,
    write_rows,
)
from deepreg_meta.inspection.data import check_data


@pytest.fixture
def records(data, configure):
    """:return: the records of one case by kind."""
    report = check_data(configure(data), ("test",), fast=False)
    return {r.entry.kind: r for r in report.files if r.case == "case0"}


def test_every_column_of_a_file_is_documented(records):
    for record in records.values():
        assert set(file_row(record)) <= set(FILE_COLUMNS)


def test_a_file_is_told_in_one_row(records):
    row = file_row(records["fixed_images"])
    assert (row["split"], row["case"], row["kind"]) == ("test", "case0", "fixed_images")
    assert (row["shape"], row["axes"], row["unit"]) == ("12 10 8", "RAS", "mm")
    assert [row[f"spacing{i}_mm"] for i in (1, 2, 3)] == pytest.approx([1, 2, 1.5])
    assert 0 <= row["min"] < row["p1"] < row["median"] < row["p99"] <= row["max"] <= 120
    assert "values" not in row
    label = file_row(records["fixed_labels"])
    assert label["values"] == "0 1" and "label_1=0.024" in label["volumes_ml"]


def test_a_file_without_an_affine_has_neither_axes_nor_lengths(records):
    record = records["fixed_labels"]
    place = replace(record.header.place, has_affine=False)
    record = replace(record, header=replace(record.header, place=place))
    row = file_row(record)
    assert "axes" not in row and "spacing1_mm" not in row and row["volumes_ml"] == ""


def test_volumes_are_in_ml(records):
    """8 voxels of 3 cubic mm."""
    assert volumes_ml(records["fixed_labels"])["label_1"] == pytest.approx(0.024)
    assert volumes_ml(records["fixed_images"]) == {}


def test_rows_are_written_with_their_columns_in_order(tmp_path):
    rows = [{"case": "a", "split": "test", "tre_before_vox": 1.23456789},
            {"case": "b", "split": "test", "dsc_before": None}]  # fmt: skip
    write_rows(tmp_path / "new" / "cases.csv", rows, CASE_COLUMNS)
    table = pd.read_csv(tmp_path / "new" / "cases.csv")
    assert list(table.columns[:2]) == ["split", "case"]
    assert "tre_before_vox" in table.columns and "tre_before_*" not in table.columns
    assert table["tre_before_vox"][0] == 1.23457
    assert table["dsc_before"].isna().all()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["cases.csv"]
