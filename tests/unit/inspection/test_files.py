"""Tests of deepreg_meta/inspection/files.py."""

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from deepreg_meta.geometry.affine import from_parts
from deepreg_meta.inspection.entries import Entry
from deepreg_meta.inspection.files import check_case
from tests.unit.dataset.pictures import SHAPE, label_map, save_png, write_pictures
from tests.unit.inspection.examples import (
    FIXED,
    affine,
    change,
    spoil_affine,
    texts,
    titles,
)

KINDS = ("moving_images", "fixed_images", "moving_labels", "fixed_labels")


@pytest.fixture
def files(data):
    """:return: the files of one case by kind."""
    return {kind: data / "train" / kind / "case0.nii.gz" for kind in KINDS}


def check(files, indices=None, fast=False, loose=False, shapes=None):
    """:return: records by kind, all findings."""
    entries = [Entry(kind, str(path)) for kind, path in files.items()]
    records = list(check_case("train", "case0", entries, indices, fast, loose, shapes))
    return (
        {record.entry.kind: record for record in records},
        [finding for record in records for finding in record.findings],
    )


def test_a_good_case_has_no_findings(files):
    records, found = check(files)
    assert found == [] and not any(r.has_problem for r in records.values())
    assert records["fixed_images"].image.num_bad == 0
    assert records["fixed_images"].label is None
    assert list(records["fixed_labels"].label.num_voxels) == ["label_0", "label_1"]
    assert {(r.split, r.case) for r in records.values()} == {("train", "case0")}


def test_in_a_hurry_headers_alone_are_read(files):
    change(files["fixed_images"], lambda image: image * np.nan)
    records, found = check(files, fast=True)
    assert found == []
    assert all(r.image is None and r.label is None for r in records.values())
    assert records["fixed_images"].header.shape == FIXED


def nan(image):
    image[2, 3, 4] = np.nan
    image[1, 1, 1] = np.inf
    return image


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (nan, "expected finite intensities, got 2 voxels that are NaN or infinite"),
        (np.zeros_like, "expected an image with contrast, got the constant 0"),
        (lambda image: np.stack([image] * 2, -1), "expected a 3-D image, got 4-D"),
    ],
)
def test_an_image_that_cannot_be_used_is_a_problem(files, edit, words):
    change(files["fixed_images"], edit)
    records, found = check(files)
    [line] = texts(found, "images that cannot be used")
    assert str(files["fixed_images"]) in line and words in line
    assert records["fixed_images"].has_problem
    assert not records["moving_images"].has_problem


def test_a_2d_image_is_a_problem_where_the_network_takes_volumes(files):
    change(files["fixed_images"], lambda image: image[..., 0])
    for shapes, number in ((None, 0), ({"fixed_images": (12, 10, 1)}, 0),
                           ({"fixed_images": FIXED}, 1)):  # fmt: skip
        _, found = check(files, shapes=shapes)
        lines = texts(found, "images that cannot be used")
        assert len(lines) == number
    assert "expected a 3-D image, got 2-D of shape (12, 10)" in lines[0]


def test_a_volume_is_a_problem_where_the_network_takes_2d_images(files):
    """Unless it is a single slice."""
    shapes = {"fixed_images": (12, 10, 1)}
    _, found = check(files, shapes=shapes)
    [line] = texts(found, "images that cannot be used")
    assert "expected a 2-D image, got 3-D of shape" in line and "[12, 10, 1]" in line
    change(files["fixed_images"], lambda image: image[:, :1])
    assert not texts(check(files, shapes=shapes)[1], "images that cannot be used")


def test_a_2d_file_outside_the_plane_of_itk_is_told(files):
    heading = "files of two axes outside the plane z = 0"
    for offset, number in ((0.0, 0), (7.0, 1)):
        affine = np.diag([1.0, 1.0, 1.0, 1.0])
        affine[2, 3] = offset
        image = np.random.default_rng(0).random((12, 10))
        nib.save(nib.Nifti1Image(image, affine), files["fixed_images"])
        assert len(texts(check(files)[1], heading)) == number


@pytest.mark.parametrize("value", [1, 255])
def test_pictures_have_no_place_and_their_masks_may_be_of_255(tmp_path, value):
    """Nothing is said of their size, which is no length."""
    folder = write_pictures(tmp_path, names=("case0",), value=value)
    files = {kind: folder / kind / "case0.png" for kind in KINDS}
    records, found = check(files)
    assert found == []
    header = records["fixed_images"].header
    assert header.known_grid is None and header.shape == SHAPE[:2]
    assert (header.dtype, header.unit) == ("uint8", "-")
    assert records["fixed_labels"].label.num_voxels == {"label_0": 12}
    assert records["fixed_labels"].label.values == (0, value)
    _, found = check(files, {"lung": 255})
    assert (found == []) is (value == 255)
    records, found = check(files, loose=True)
    assert found == [] and records["fixed_labels"].label.values == (0, value)
    small = save_png(tmp_path / "small.png", label_map(9)[1:4, :3])
    assert check({"fixed_images": small})[1] == []  # 3 pixels would be 3 mm


def test_pictures_that_cannot_be_used_are_problems(tmp_path):
    folder = write_pictures(tmp_path, names=("case0",))
    files = {kind: folder / kind / "case0.png" for kind in KINDS}
    Image.new("RGBA", SHAPE[:2]).save(files["fixed_images"])
    save_png(files["moving_labels"], label_map()[1:])
    _, found = check(files)
    [line] = texts(found, "files that cannot be read")
    assert line.startswith(f"{files['fixed_images']}: expected a picture of one chan")
    [line] = texts(found, "labels on another grid than their image")
    assert "its image, (7, 5), got (6, 5)" in line


def empty(labels):
    labels[..., 1] = 0
    return labels


def test_an_empty_label_is_a_problem(files):
    change(files["moving_labels"], empty)
    _, found = check(files)
    [line] = texts(found, "label channels without voxels")
    assert f"{files['moving_labels']}: " in line and "got none for label_1" in line


@pytest.mark.parametrize(
    ("edit", "indices", "words"),
    [
        (lambda labels: 3 * labels, None, "expected values in [0, 1], got 0, 3"),
        (lambda labels: 3 * labels[..., 0], {"gland": 2}, "got 3. Declare it there"),
        (
            lambda labels: np.full(labels.shape, np.nan, np.float32),
            None,
            "expected finite label values",
        ),
    ],
)
def test_a_label_value_that_is_not_declared_is_a_problem(files, edit, indices, words):
    change(files["fixed_labels"], edit)
    _, found = check({k: files[k] for k in ("fixed_images", "fixed_labels")}, indices)
    assert words in " ".join(texts(found, "labels that cannot be used"))
    assert titles(found) == {"labels that cannot be used"}


def test_an_index_map_that_is_declared_is_good(files):
    for kind in ("moving_labels", "fixed_labels"):
        change(files[kind], lambda labels: 3 * labels[..., 0] + 2 * labels[..., 1])
    records, found = check(files, {"landmark": 5, "gland": 3})
    assert found == []
    num = records["fixed_labels"].label.num_voxels
    assert num["landmark"] == 8 < num["gland"]  # a ball between eight voxels


@pytest.mark.parametrize("fast", [True, False])
def test_a_label_on_another_grid_is_a_problem(files, fast):
    change(files["fixed_labels"], lambda labels: labels[:, :, 1:])
    _, found = check(files, fast=fast)
    [line] = texts(found, "labels on another grid than their image")
    assert "expected the grid of its image, (12, 10, 8), got (12, 10, 7)" in line


def test_a_label_in_another_place_is_a_problem(files):
    moved = affine(FIXED, centre=(10, -20, 42))
    change(files["fixed_labels"], affine=moved)
    _, found = check(files)
    [line] = texts(found, "labels that lie elsewhere than their image")
    assert "up to 12 mm apart" in line


def test_a_label_with_the_identity_for_an_affine_says_nothing(files):
    """As DeepReg's own tools write labels; they are taken voxel by voxel."""
    change(files["fixed_labels"], affine=np.eye(4))
    assert check(files)[1] == []


def test_a_file_whose_voxels_end_too_early_is_a_problem(files):
    path = files["fixed_images"]
    path.write_bytes(path.read_bytes()[:-500])
    records, found = check(files)
    assert titles(found, "problem") == {"files that cannot be read"}
    assert (
        records["fixed_images"].header is not None and check(files, fast=True)[1] == []
    )


def test_a_place_that_cannot_be_is_a_problem_of_that_file_alone(files):
    flat = from_parts([[1, 2, 0], [1, 2, 0], [0, 0, 1]], [0] * 3)
    files["moving_images"] = spoil_affine(files["moving_images"], flat)
    records, found = check(files)
    assert titles(found) == {"places in space that cannot be"}
    assert [kind for kind, r in records.items() if r.has_problem] == ["moving_images"]


@pytest.mark.parametrize(("factor", "words"), [(0.1, "got 1.875"), (200, "got 3750")])
def test_a_size_that_nobody_has_makes_the_unit_doubtful(files, factor, words):
    """The longest side has 10 voxels of 1.875 mm."""
    spacing = factor * np.array([1.0, 1.875, 1.5])
    files = {"fixed_images": files["fixed_images"]}
    change(files["fixed_images"], affine=affine(FIXED, spacing))
    _, found = check(files)
    [line] = texts(found, "sizes that make the unit doubtful")
    assert words in line and titles(found, "problem") == set()


def test_single_files_may_be_flat_and_index_maps(files):
    change(files["fixed_images"], lambda image: image[..., 4])
    change(files["fixed_labels"], lambda labels: 3 * labels[..., 4, 0])
    files = {k: files[k] for k in ("fixed_images", "fixed_labels")}
    records, found = check(files, loose=True)
    assert titles(found, "problem") == set()
    assert list(records["fixed_labels"].label.num_voxels) == ["3"]
    assert "labels that cannot be used" in titles(check(files)[1], "problem")
    assert titles(check(files, {"gland": 3})[1], "problem") == set()
