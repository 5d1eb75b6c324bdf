"""Tests of endpoint errors of files."""

import numpy as np
import pytest

from deepreg_meta.dataset.gaussian_field import FieldOptions
from deepreg_meta.dataset.known_truth import write_known_truth
from deepreg_meta.evaluate.endpoint_file import compare_fields, read_foreground
from deepreg_meta.evaluate.metric import endpoint_statistics
from deepreg_meta.geometry.affine import GeometryError
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.nifti_field import save_deepreg_ddf, write_field
from deepreg_meta.geometry.transform import Affine, Field, Transform
from deepreg_meta.geometry.transform_file import save_transform
from deepreg_meta.geometry.volume_file import save_volume
from tests.unit.geometry.places import affine, rough_field

SIZES = [(5, 6, 7), (9, 8, 1)]
PLACE = affine((20, -35, 50), (0.8, 1.3, 2.5), (-12, 30, 7), (-1, 1, 1))


def grid_of(size):
    return Grid(size, PLACE)


def shifted(grid, *voxels):
    """:return: a field that displaces by so many voxels along the axes of a grid."""
    vectors = np.array(voxels) @ grid.affine[:3, :3].T
    return Field(grid, np.broadcast_to(vectors, (*grid.shape, 3)).astype(np.float32))


@pytest.mark.parametrize("size", SIZES)
def test_a_constant_error_is_counted_in_voxels_and_in_mm(tmp_path, size):
    """(3, -4, 0) voxels of 0.8 x 1.3 x 2.5 mm: 5 voxels, and sqrt(2.4^2 + 5.2^2) mm."""
    grid = grid_of(size)
    write_field(tmp_path / "truth.nii.gz", shifted(grid, 1, 2, 0))
    write_field(tmp_path / "ddf.nii.gz", shifted(grid, 4, -2, 0))
    found = compare_fields(tmp_path / "ddf.nii.gz", tmp_path / "truth.nii.gz")
    vox = {f"{name}_vox": 5.0 for name in ("mean", "median", "p95")}
    mm = {f"{name}_mm": np.hypot(2.4, 5.2) for name in ("mean", "median", "p95")}
    assert found == pytest.approx({**vox, **mm}, rel=1e-5)
    before = compare_fields(None, tmp_path / "truth.nii.gz")
    assert before["mean_vox"] == pytest.approx(5**0.5, rel=1e-5)
    assert before["mean_mm"] == pytest.approx(np.hypot(0.8, 2.6), rel=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_every_form_in_which_a_transform_is_written_has_the_same_error(
    tmp_path, rng, size
):
    """DeepReg's layout too: moving and fixed image of the pairs are on one grid."""
    grid = grid_of(size)
    found, true = rough_field(grid, rng), rough_field(grid, rng)
    shift = np.eye(4)
    shift[:3, 3] = 0.5, -0.25, 1.0
    whole = Transform((found, Affine(shift)))
    write_field(tmp_path / "truth.nii.gz", true)
    names = ["t.h5", "t.nii.gz", "t_deepreg.nii.gz"]
    for name in names[:2]:
        save_transform(tmp_path / name, whole, grid)
    save_deepreg_ddf(tmp_path / names[2], whole, grid, grid)
    inverse = np.linalg.inv(PLACE[:3, :3]).T
    expected = endpoint_statistics(
        (found.vectors + shift[:3, 3]) @ inverse, true.vectors @ inverse
    )
    for name in names:
        errors = compare_fields(tmp_path / name, tmp_path / "truth.nii.gz")
        own = {key: errors[f"{key}_vox"] for key in expected}
        assert own == pytest.approx(expected, rel=1e-4), name
    assert expected["p95"] > 1.1 * expected["median"] > 0.1


@pytest.mark.parametrize("channels", [(), (2,)])
def test_only_where_a_label_shows_a_structure_do_voxels_count(tmp_path, channels):
    grid = grid_of((4, 3, 1))
    vectors = np.zeros((4, 3, 1, 3), np.float32)
    vectors[0, 0, 0] = PLACE[:3, :3] @ [5.0, 0, 0]  # of two voxels, or of twelve
    label = np.zeros((4, 3, 1, *channels), np.float32)
    label[(slice(2), 0, 0) + (1,) * len(channels)] = 3.0
    write_field(tmp_path / "truth.nii.gz", shifted(grid, 0, 0, 0))
    write_field(tmp_path / "ddf.nii.gz", Field(grid, vectors))
    save_volume(tmp_path / "label.nii.gz", label, PLACE)
    files = tmp_path / "ddf.nii.gz", tmp_path / "truth.nii.gz"
    within = compare_fields(*files, label=tmp_path / "label.nii.gz")
    assert within["mean_vox"] == pytest.approx(2.5)
    assert within["mean_mm"] == pytest.approx(2.5 * 0.8)
    assert compare_fields(*files)["mean_vox"] == pytest.approx(5 / 12)


def test_the_truth_of_a_pair_is_the_error_of_no_displacement(tmp_path, rng):
    """Of components whose root mean square is 1 it has sqrt(2) pixels."""
    save_volume(tmp_path / "images" / "a.nii.gz", rng.random((18, 15, 1)), PLACE)
    options = FieldOptions(sigma=1.0, num_centers=4, width=(4, 7), reference=None)
    out = write_known_truth(tmp_path / "images", tmp_path / "out", options)
    truth = out / "truth" / "a_0.nii.gz"
    assert max(compare_fields(truth, truth).values()) == 0.0
    before = compare_fields(None, truth)
    assert 0.7 < before["mean_vox"] < 2**0.5 < before["p95_vox"]
    assert 0.8 < before["mean_mm"] / before["mean_vox"] < 1.3


def test_files_that_cannot_be_compared_are_refused(tmp_path, rng):
    grid, other = grid_of((5, 6, 7)), grid_of((5, 6, 6))
    moved = Grid((5, 6, 7), affine((20, -35, 50), (0.8, 1.3, 2.5), (-12, 30, 8)))
    write_field(tmp_path / "truth.nii.gz", rough_field(grid, rng))
    for name, own in (("small.nii.gz", other), ("moved.nii.gz", moved)):
        write_field(tmp_path / name, rough_field(own, rng))
        message = rf"{name}: expected a field on the grid of the truth in .*truth.nii"
        with pytest.raises(GeometryError, match=message):
            compare_fields(tmp_path / name, tmp_path / "truth.nii.gz")
    np.save(tmp_path / "m.npy", np.eye(4))
    with pytest.raises(GeometryError, match="m.npy: expected one .* got affine"):
        compare_fields(None, tmp_path / "m.npy")
    save_volume(tmp_path / "label.nii.gz", np.ones((5, 6, 6)), PLACE)
    with pytest.raises(GeometryError, match=r"label.nii.gz: .* \(5, 6, 7\), got \(5,"):
        read_foreground(tmp_path / "label.nii.gz", (5, 6, 7))
