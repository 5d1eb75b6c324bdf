"""Tests of deepreg_meta/sequence/write.py: what other programs find in the files."""

import csv
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from deepreg_meta.geometry.nifti_field import read_field
from deepreg_meta.geometry.volume_file import save_volume
from deepreg_meta.sequence.track import TrackedPair
from deepreg_meta.sequence.write import write_pair, write_points, write_volumes
from tests.unit.sequence.examples import SHIFT, shift_field, shifting


def pair_of(sequence, fixed=2, moving=1):
    return TrackedPair(fixed, moving, shift_field(sequence)(fixed, moving))


@pytest.mark.parametrize("shape", [(20, 17, 1), (15, 14, 12)])
def test_itk_brings_the_moving_frame_onto_the_fixed_one(tmp_path, shape):
    """By the field in `fields`, in two dimensions and in three, voxel for voxel."""
    is_flat = shape[2] == 1
    shift = np.array([2, -1, 0 if is_flat else 3])
    sequence = shifting(3, shape, shift)
    sequence = replace(sequence, layout="plane" if is_flat else "volume")
    pair = TrackedPair(2, 1, shift_field(sequence, shift)(2, 1))
    write_pair(tmp_path, pair, sequence)
    for index in (1, 2):
        path = tmp_path / f"{index}.nii"
        save_volume(path, sequence.images[index], sequence.grid.affine, is_flat)
    fixed, moving = (sitk.ReadImage(str(tmp_path / f"{i}.nii")) for i in (2, 1))
    vectors = sitk.ReadImage(
        str(tmp_path / "fields" / "002_to_001.nii.gz"), sitk.sitkVectorFloat64
    )
    field = sitk.DisplacementFieldTransform(vectors)
    warped = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, field)).T
    inner = (slice(3, -3), slice(3, -3), slice(4, -4))[: warped.ndim]
    expected = sequence.images[2].reshape(warped.shape)
    np.testing.assert_allclose(warped[inner], expected[inner], atol=1e-5)


def test_velocities_are_vectors_of_the_tissue_in_mm_per_s(tmp_path):
    """Intent 1007, axes L, P, S: 2 voxels of 0.5 mm to the left in 0.04 s."""
    sequence = shifting()
    for pair in (pair_of(sequence), pair_of(sequence, 0, 1)):
        write_pair(tmp_path, pair, sequence)
        image = nib.load(tmp_path / "velocity" / f"{pair.fixed:03d}.nii.gz")
        assert int(image.header["intent_code"]) == 1007
        np.testing.assert_allclose(image.get_fdata()[5, 5, 0, 0], [25, -20, 0])
    assert (SHIFT == [2, -1, 0]).all()


def test_fields_of_two_axes_have_two_components(tmp_path):
    """Where the frames are images of two axes; the field is the same."""
    sequence = replace(shifting(), layout="plane")
    write_pair(tmp_path, pair_of(sequence), sequence)
    path = tmp_path / "fields" / "002_to_001.nii.gz"
    assert nib.load(path).shape == (20, 17, 1, 1, 2)
    [field] = read_field(path).parts
    np.testing.assert_allclose(field.vectors[5, 5, 0], [1, -0.8, 0], rtol=1e-6)
    write_pair(tmp_path / "volume", pair_of(sequence), shifting())
    path = tmp_path / "volume" / "fields" / "002_to_001.nii.gz"
    assert nib.load(path).shape == (20, 17, 1, 1, 3)


def test_volumes_of_all_frames_have_time_as_their_last_axis(tmp_path):
    sequence = shifting()
    labels = [np.full(sequence.grid.shape, i, np.uint8) for i in range(4)]
    write_volumes(tmp_path / "label.nii.gz", labels, sequence)
    image = nib.load(tmp_path / "label.nii.gz")
    assert image.shape == (20, 17, 1, 4) and image.get_data_dtype() == np.uint8
    assert image.header.get_xyzt_units() == ("mm", "sec")
    assert image.header.get_zooms()[3] == pytest.approx(0.04)
    np.testing.assert_allclose(image.affine, sequence.grid.affine, atol=1e-6)
    assert image.get_fdata()[3, 3, 0].tolist() == [0, 1, 2, 3]
    slow = replace(sequence, time_step_s=None)
    write_volumes(tmp_path / "slow.nii.gz", labels, slow)
    assert nib.load(tmp_path / "slow.nii.gz").header.get_xyzt_units()[1] == "unknown"


def test_points_are_written_for_every_frame_in_mm_and_in_voxels(tmp_path):
    sequence = shifting()
    voxels = np.array([[3.0, 4.0, 0.0], [6.5, 8.25, 0.0]])
    points = [sequence.grid.to_world(voxels + i * SHIFT) for i in range(4)]
    write_points(tmp_path / "p.csv", ("a", "b"), points, sequence)
    with (tmp_path / "p.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    last = rows[-1]
    assert last["frame"] == "3" and last["name"] == "b" and last["time_s"] == "0.12"
    found = [float(last[axis]) for axis in "ijk"]
    np.testing.assert_allclose(found, [12.5, 5.25, 0])
    lps = [float(last[f"{axis}_lps_mm"]) for axis in "xyz"]
    np.testing.assert_allclose(lps, [6.25, 4.2, 0])
    assert "-0.0000" not in (tmp_path / "p.csv").read_text()
    slow = replace(sequence, time_step_s=None)
    write_points(tmp_path / "s.csv", ("a", "b"), points, slow)
    assert "time_s" not in (tmp_path / "s.csv").read_text()
