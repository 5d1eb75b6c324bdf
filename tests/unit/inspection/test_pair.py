"""Tests of deepreg_meta/inspection/pair.py."""

import numpy as np
import pytest

from deepreg_meta.geometry.picture_file import read_picture
from deepreg_meta.geometry.volume_file import save_volume
from deepreg_meta.inspection.pair import check_files
from tests.unit.dataset.pictures import write_shifted
from tests.unit.inspection.examples import MOVING, affine, change, texts, titles


@pytest.fixture
def files(data):
    """:return: images and labels of one case."""
    kinds = ("fixed_images", "moving_images", "fixed_labels", "moving_labels")
    return [data / "train" / kind / "case0.nii.gz" for kind in kinds]


def check(files, fast=False):
    fixed, moving, *labels = map(str, files)
    parts = ([labels[0]], [labels[1]]) if labels else ((), ())
    return check_files(fixed, moving, *parts, fast)


def table(report, title):
    [section] = [s for s in report.sections if s.title == title]
    return {row[0]: row[1:] for row in section.rows}


def test_a_good_pair_is_described_by_its_headers(files):
    report = check(files)
    assert report.findings == []
    rows = table(report, "Files")
    assert rows["fixed image: case0.nii.gz"][:3] == (
        "12 x 10 x 8",
        "1 x 2 x 1.5",
        "RAS",
    )
    place = table(report, "Place in space")
    assert place["centres apart"][0] == "0.0 mm"
    assert place["share of the fixed image in the moving one"] == ("100%", "100%")
    [tile] = report.tiles
    assert tile.title == "by the headers"


def test_labels_are_scored_where_the_headers_place_them(files):
    """Moved by (1, 0, 1) voxels of (1, 2, 1.5) mm; a landmark of 8 voxels, and of 1."""
    rows = table(check(files), "Labels by the headers")
    assert list(rows) == ["label_0", "label_1"]
    fixed_ml, moving_ml, _, apart = rows["label_1"]
    assert (fixed_ml, moving_ml) == ("0.024", "0.003")
    assert apart == "1.80"
    assert 0.3 < float(rows["label_0"][2]) < 0.9


def test_each_of_several_files_is_a_structure_of_its_own(files, tmp_path):
    sides = []
    for path, shape in ((files[2], (12, 10, 8)), (files[3], MOVING)):
        folder = tmp_path / path.parent.name
        folder.mkdir()
        for name in ("gland", "cyst"):
            label = np.zeros(shape, np.uint8)
            label[4:7, 4:7, 3 + (name == "cyst")] = 1
            save_volume(folder / f"{name}.nii.gz", label, affine(shape))
        sides.append([str(folder / f"{name}.nii.gz") for name in ("gland", "cyst")])
    report = check_files(str(files[0]), str(files[1]), *sides)
    assert report.findings == []
    assert list(table(report, "Labels by the headers")) == ["gland", "cyst"]


def test_index_maps_are_understood_without_a_configuration(files):
    for path in files[2:]:
        change(path, lambda labels: 3 * labels[..., 0] + 2 * labels[..., 1])
    report = check(files)
    assert report.findings == []
    assert list(table(report, "Labels by the headers")) == ["3", "5"]


def test_images_alone_are_enough(files):
    report = check(files[:2])
    assert report.findings == []
    assert {s.title for s in report.sections} == {"Files", "Place in space"}
    assert "ncc_before" in report.row


def test_images_that_lie_apart_are_a_problem(files):
    """And what their centres aligned would give is shown."""
    for path in (files[1], files[3]):
        change(path, affine=affine(MOVING, centre=(10, 80, 30)))
    report = check(files)
    [line] = texts(report.findings, "pairs that do not overlap")
    assert "centres are 100 mm apart" in line and "--initial mass" in line
    place = table(report, "Place in space")
    assert place["centres apart"][0] == "100.0 mm"
    assert place["share of the fixed image in the moving one"] == ("0%", "100%")
    # voxels at the very faces of the smaller grid may fall on either side
    share, centred = place["share of the moving image in the fixed one"]
    assert share == "0%" and 60 < int(centred.removesuffix("%")) < 80


def test_structures_that_do_not_correspond_are_a_problem(files):
    change(files[3], lambda labels: labels[..., 0])
    report = check(files)
    [line] = texts(report.findings, "labels that do not correspond")
    assert "got 2 of the fixed and 1 of the moving one" in line


def test_maps_of_different_integers_do_not_correspond(files):
    """Their structures would be compared in the order of their numbers."""
    for path, other in zip(files[2:], (2, 3), strict=True):

        def to_map(label, other=other):
            found = np.zeros(label.shape[:3], np.uint8)
            found[2:5, 2:5, 2:4] = 1
            found[6:8, 6:8, 4:6] = other
            return found

        change(path, to_map)
    [line] = texts(check(files).findings, "labels that do not correspond")
    assert "got 1, 2 in the fixed and 1, 3 in the moving one" in line


def test_problems_of_a_file_leave_out_what_cannot_be_said(files):
    change(files[1], lambda image: image * np.nan)
    report = check(files)
    assert titles(report.findings) == {"images that cannot be used"}
    assert report.tiles == [] and report.row["num_problems"] == 1
    assert table(report, "Files")["moving image: case0.nii.gz"][-1] == "none"
    assert "Place in space" in {s.title for s in report.sections}


def test_in_a_hurry_headers_alone_are_compared(files):
    change(files[1], lambda image: image * np.nan)
    report = check(files, fast=True)
    assert report.findings == [] and report.tiles == []
    assert report.row["overlap_by_header"] == 1


def test_a_file_without_a_grid_leaves_the_files_alone(files):
    files[1].write_bytes(b"broken")
    report = check(files[:2])
    assert titles(report.findings) == {"files that cannot be read"}
    assert [s.title for s in report.sections] == ["Files"]


@pytest.mark.parametrize("value", [1, 255])
def test_pictures_are_compared_pixel_by_pixel(tmp_path, value):
    """Columns 4 to 8 and 6 to 10: Dice 3 / 5; nothing is said in mm."""
    write_shifted(tmp_path, ("a",), value)
    kinds = ("fixed_images", "moving_images", "fixed_labels", "moving_labels")
    files = [tmp_path / kind / "a.png" for kind in kinds]
    report = check(files)
    assert report.findings == []
    assert table(report, "Files")["fixed image: a.png"][:4] == (
        *("20 x 16", "-", "-", "uint8"),
    )
    assert table(report, "Files")["fixed label: a.png"][-1] == f"0, {value}"
    place = table(report, "Place in space")
    assert place["centres apart"] == ("0.0 pixels", "0 pixels")
    assert place["axes, fixed / moving"][0] == "- / -"
    [section] = [s for s in report.sections if s.title.startswith("Labels")]
    assert section.header == (
        *("label", "fixed (pixels)", "moving (pixels)", "Dice"),
        "centroids apart (pixels)",
    )
    [row] = section.rows
    assert row == ("label_0", "35", "35", "0.600", "2.00")
    [tile] = report.tiles
    assert tile.plane.orientation == "picture" and tile.plane.letters == {}
    values = [read_picture(path).ravel() for path in files[:2]]
    ncc = np.corrcoef(*values)[0, 1]
    assert report.row["ncc_before"] == pytest.approx(ncc, abs=1e-6) and ncc < 0.9


def test_of_a_picture_and_a_plane_nothing_is_said_in_mm(tmp_path):
    write_shifted(tmp_path, ("a",))
    fixed = tmp_path / "fixed_images" / "a.png"
    moving = tmp_path / "moving.nii.gz"
    save_volume(moving, 2 * read_picture(fixed), np.diag([-1.0, -1.0, 1.0, 1.0]), True)
    place = table(check([fixed, moving]), "Place in space")
    assert place["centres apart"][0] == "0.0 pixels"
    assert place["axes, fixed / moving"][0] == "- / LPS"


def test_planes_are_measured_by_their_area(tmp_path):
    """Pixels of 2 x 3 mm in slices of 50."""
    label = np.zeros((20, 16), np.uint8)
    label[4:9, 5:12] = 1
    image = label * 100 + np.arange(16, dtype=np.uint8)
    files = [tmp_path / f"{name}.nii.gz" for name in "abcd"]
    for path, voxels in zip(files, (image, image + 1, label, label), strict=True):
        save_volume(path, voxels[..., None], np.diag([2.0, 3.0, 50.0, 1.0]), True)
    report = check(files)
    [section] = [s for s in report.sections if s.title.startswith("Labels")]
    assert section.header[1:3] == ("fixed (mm2)", "moving (mm2)")
    assert section.rows[0][1] == "210"
