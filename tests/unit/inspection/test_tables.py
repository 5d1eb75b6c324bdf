"""Tests of deepreg_meta/inspection/tables.py."""

import pytest

from deepreg_meta.inspection import tables as tables_module
from deepreg_meta.inspection.data import DataReport, Split, check_data
from deepreg_meta.inspection.tables import config_section, split_sections
from tests.unit.inspection.examples import change


def rows_of(section):
    return {row[0]: row[1:] for row in section.rows}


def test_a_configuration_is_told_in_a_few_lines(data, configure):
    config = configure(data, "centroid", {"frames": [2, 4]}, spacing_mm=[1, 2, 3])
    rows = rows_of(config_section(config))
    assert rows["method"] == ("reptile",)
    assert rows["network's grid"] == ("moving 13 x 11 x 9, fixed 12 x 10 x 8",)
    assert rows["initial alignment"] == ("centroid, label 0",)
    assert rows["frames of the sweep"] == ("4",)
    assert "fixed 1 x 2 x 3: lengths are voxels" in rows["spacing, overridden"][0]


def test_the_spacing_of_pictures_is_given_not_overridden(data, configure):
    shapes = dict.fromkeys(("moving_image_shape", "fixed_image_shape"), [7, 5])
    config = configure(data, format="png", spacing_mm=[0.5, 2], **shapes)
    rows = rows_of(config_section(config))
    assert rows["spacing"] == ("moving 0.5 x 2, fixed 0.5 x 2: lengths are mm",)
    assert rows["network's grid"] == ("moving 7 x 5 x 1, fixed 7 x 5 x 1",)


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        ({}, "channels"),
        ({"labels": {"gland": 1, "apex": 5}}, "gland 1, apex 5"),
        ({"labeled": False}, "none"),
    ],
)
def test_the_labels_are_told_as_they_are_declared(data, configure, dataset, words):
    rows = rows_of(config_section(configure(data, **dataset)))
    assert rows["labels"] == (words,)


def test_files_of_a_kind_are_told_in_one_line(data, configure):
    """With the range of what varies."""
    path = data / "train" / "fixed_images" / "case0.nii.gz"
    change(path, lambda image: image[:, :-3].astype("int16"))
    change(data / "train" / "fixed_labels" / "case0.nii.gz", lambda x: x[:, :-3, :, :1])
    report = check_data(configure(data), ("train",), fast=False)
    [section] = split_sections(report)
    assert section.title == f"train: 3 cases in {data / 'train'}"
    rows = rows_of(section)
    number, shape, spacing, axes, dtype, values = rows["fixed_images"]
    assert (number, shape, spacing) == ("3", "12 x 7-10 x 8", "1 x 2 x 1.5")
    assert (axes, dtype) == ("RAS", "int16, float32") and values.startswith("0 to 1")
    assert rows["fixed_labels"][-1] == "0, 1; 1-2 labels"


def test_a_single_label_is_told_by_its_values(data, configure):
    for number in range(3):
        path = data / "train" / "fixed_labels" / f"case{number}.nii.gz"
        change(path, lambda labels: labels[..., 0])
    [section] = split_sections(check_data(configure(data), ("train",), fast=False))
    assert rows_of(section)["fixed_labels"][-1] == "0, 1"


def make_report(rows, unit="mm"):
    split = Split("test", ("folder",), {}, True, {}, rows, unit=unit)
    return DataReport([split])


ROWS = [
    {"case": "a", "overlap_aligned": 1.0, "dsc_before": 0.5, "dsc_centroids": 0.7,
     "num_landmarks": 2, "tre_before_mm": 3.0, "tre_centroids_mm": 2.0},
    {"case": "b", "overlap_aligned": 0.5, "dsc_before": 0.9, "dsc_centroids": 0.8,
     "num_landmarks": 0},
    {"case": "c", "num_problems": 1},
]  # fmt: skip


def test_pairs_are_listed_with_their_means():
    """The pair that was not scored is left out; empty cells do not count."""
    section = split_sections(make_report(ROWS))[1]
    assert section.header[4:] == ("landmarks", "TRE (mm)", "centroids")
    assert section.rows == [
        ("a", "1.00", "0.500", "0.700", "2", "3.00", "2.00"),
        ("b", "0.50", "0.900", "0.800", "0", "-", "-"),
        ("mean of 2", "0.75", "0.700", "0.750", "", "3.00", "2.00"),
    ]


def test_lengths_in_voxels_are_called_so():
    row = {**ROWS[1], "tre_before_vox": 4.0, "tre_centroids_vox": 1.0}
    section = split_sections(make_report([row], "voxels"))[1]
    assert "TRE (voxels)" in section.header and section.rows[0][-2:] == ("4.00", "1.00")


def test_unlabeled_pairs_are_told_by_their_images():
    rows = [{"case": "a", "overlap_aligned": 1.0, "ncc_before": 0.25}]
    section = split_sections(make_report(rows))[1]
    assert section.header == ("case", "overlap", "NCC")
    assert section.rows[0] == ("a", "1.00", "0.250")


def test_of_many_pairs_the_worst_are_shown(monkeypatch):
    monkeypatch.setattr(tables_module, "MAX_ROWS", 2)
    rows = [{**ROWS[1], "case": f"c{i}", "dsc_before": d}
            for i, d in enumerate((0.8, 0.3, 0.9, 0.5))]  # fmt: skip
    section = split_sections(make_report(rows))[1]
    assert [row[0] for row in section.rows] == ["c1", "c3", "mean of 4"]
    assert section.rows[-1][2] == "0.625"
    assert any("The 2 worst of 4 pairs" in note for note in section.notes)
