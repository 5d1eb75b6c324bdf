"""Laws, values and errors of deepreg_meta.evaluate.learn2reg."""

import nibabel as nib
import numpy as np
import pytest

from deepreg_meta.evaluate import learn2reg, metric
from deepreg_meta.evaluate.protocol.learn2reg import warp_label
from deepreg_meta.geometry.affine import GeometryError, from_parts
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.resample import resample
from deepreg_meta.geometry.transform import Affine, Field, Transform

SHAPE = (9, 10, 11)


def grids():
    """Two grids of one shape, oblique and of different spacing."""
    turned = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])
    fixed = from_parts(turned * [1.5, 0.9, 1.1], [3, -4, 7])
    moving = from_parts(turned * [1.4, 1.0, 1.2], [3.4, -4.2, 6.5])
    return Grid(SHAPE, fixed), Grid(SHAPE, moving)


def transform(fixed, rng):
    """A field and an affine map after it."""
    field = Field(fixed, 0.8 * rng.normal(size=(*SHAPE, 3)))
    return Transform((field, Affine(from_parts(1.02 * np.eye(3), [0.3, 0.2, -0.1]))))


def test_fields_are_named_by_subjects_where_that_is_enough():
    def stems(fixed, moving):
        return learn2reg.field_stems(
            f"./imagesTr/LungCT_{fixed}.nii.gz", f"LungCT_{moving}.nii.gz"
        )

    full = "disp_0021_0000_0022_0001"
    assert stems("0021_0000", "0022_0001") == ("disp_0021_0022", full)
    assert stems("0021_0001", "0022_0001")[0] == "disp_0021_0022"
    assert stems("0021_0001", "0022_0000") == ("disp_0021_0001_0022_0000",)
    assert stems("0021_0002", "0022_0001") == ("disp_0021_0002_0022_0001",)
    other = learn2reg.field_stems("mr/case1.nii.gz", "us/case2.nii")
    assert other == ("disp_case1_case2",)


def test_an_exported_field_takes_voxels_where_the_transform_takes_points(tmp_path, rng):
    fixed, moving = grids()
    mapping = transform(fixed, rng)
    path = learn2reg.export_learn2reg(
        tmp_path / "new", "0021", "0022", mapping, fixed, moving
    )
    image = nib.load(path)
    assert path.name == "disp_0021_0022.nii.gz" and image.shape == (*SHAPE, 3)
    assert image.get_data_dtype() == np.float32
    field = learn2reg.read_displacement(path)
    for voxel in ((2, 3, 4), (8, 0, 10)):
        expected = moving.to_voxel(mapping.map_points(fixed.to_world(voxel)))
        np.testing.assert_allclose(voxel + field[voxel], expected, atol=1e-5)


def test_an_exported_field_warps_labels_as_our_own_resampling_does(tmp_path, rng):
    fixed, moving = grids()
    mapping = transform(fixed, rng)
    label = np.zeros(SHAPE, np.int16)
    label[2:7, 2:6, 3:8], label[3:6, 6:8, 2:9] = 1, 2
    path = learn2reg.export_learn2reg(tmp_path, "a", "b", mapping, fixed, moving)
    theirs = warp_label(label, learn2reg.read_displacement(path))
    ours = resample(label, moving, fixed, mapping, "nearest")
    np.testing.assert_array_equal(theirs, ours)
    for value in (1, 2):
        scores = [metric.dsc(label == value, w == value) for w in (theirs, ours)]
        assert scores[0] == scores[1] and 0.1 < scores[0] < 1


def test_a_field_read_back_is_the_transform_that_was_exported(tmp_path, rng):
    fixed, moving = grids()
    mapping = transform(fixed, rng)
    path = learn2reg.export_learn2reg(tmp_path, "a", "b", mapping, fixed, moving)
    field = learn2reg.read_displacement(path)
    back = learn2reg.displacement_transform(field, fixed, moving)
    points = fixed.to_world(rng.uniform(1, 7, size=(20, 3)))
    np.testing.assert_allclose(
        back.map_points(points), mapping.map_points(points), atol=1e-4
    )


def test_arrays_are_read_in_the_types_of_the_scorer(tmp_path):
    field = np.arange(5 * 6 * 7 * 3.0).reshape(5, 6, 7, 3)
    np.savez(tmp_path / "a.npz", field)
    np.savez(tmp_path / "two.npz", field, field)
    nib.save(nib.Nifti1Image(field.astype(np.float32), np.eye(4)), tmp_path / "a.nii")
    for name, dtype in (("a.npz", np.float32), ("a.nii", np.float64)):
        found = learn2reg.read_displacement(tmp_path / name)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, field)
    with pytest.raises(ValueError, match=r"two.npz: .*expected one array"):
        learn2reg.read_displacement(tmp_path / "two.npz")


def test_fields_of_another_layout_and_broken_files_are_refused(tmp_path):
    itk = nib.Nifti1Image(np.zeros((5, 6, 7, 1, 3), np.float32), np.eye(4))
    nib.save(itk, tmp_path / "itk.nii")
    with pytest.raises(GeometryError, match=r"itk.nii: .*got shape \(5, 6, 7, 1, 3\)"):
        learn2reg.read_displacement(tmp_path / "itk.nii")
    (tmp_path / "broken.npz").write_bytes(b"no archive")
    (tmp_path / "broken.nii.gz").write_bytes(b"no image")
    np.savez(tmp_path / "whole.npz", np.zeros((5, 6, 7, 3), np.float32))
    half = (tmp_path / "whole.npz").read_bytes()[:900]
    (tmp_path / "half.npz").write_bytes(half)
    for name in ("broken.npz", "half.npz", "broken.nii.gz", "absent.nii.gz"):
        with pytest.raises(ValueError, match=f"{name}: cannot be read"):
            learn2reg.read_displacement(tmp_path / name)


def test_grids_of_two_shapes_and_names_that_are_paths_are_refused(tmp_path):
    fixed, moving = Grid((5, 6, 7), np.eye(4)), Grid((5, 7, 6), np.eye(4))
    with pytest.raises(GeometryError, match=r"one shape.*\(5, 6, 7\) and \(5, 7, 6\)"):
        learn2reg.export_learn2reg(tmp_path, "a", "b", Transform(), fixed, moving)
    for name in ("../a", "", "a b"):
        with pytest.raises(ValueError, match=f"such as 0021, got '{name}'"):
            learn2reg.export_learn2reg(tmp_path, name, "b", Transform(), fixed, fixed)
    assert not list(tmp_path.iterdir())
