"""Tests of deepreg_meta/geometry/itk_image.py; reference: SimpleITK."""

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from deepreg_meta.dataset.files import PairFiles, read_files
from deepreg_meta.dataset.stored import read_place
from deepreg_meta.geometry.affine import FLIP
from deepreg_meta.geometry.itk_image import SUFFIXES
from deepreg_meta.geometry.volume_file import read_volume
from deepreg_meta.inspection.entries import Entry
from deepreg_meta.inspection.facts import read_voxels
from deepreg_meta.inspection.header import read_header
from deepreg_meta.sequence.read import header_time_step

SHAPE = (5, 6, 7)
TURN = Rotation.from_euler("xyz", (20, -35, 50), degrees=True).as_matrix()


def write(path, voxels, channels=False, place=True):
    """:return: what SimpleITK writes: an oblique image, axes in the order of voxels."""
    axes = voxels.ndim - channels
    image = sitk.GetImageFromArray(
        voxels.transpose(*range(axes)[::-1], *range(axes, voxels.ndim)),
        isVector=channels,
    )
    if place:
        image.SetSpacing((0.8, 1.3, 2.5))
        image.SetOrigin((-12, 30, 7))
        image.SetDirection(TURN.ravel())
    sitk.WriteImage(image, str(path))
    return sitk.ReadImage(str(path))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_voxels_lie_where_itk_has_them(tmp_path, rng, suffix):
    """Its axes are L, P and S; header and voxels of two of the formats lie apart."""
    path = tmp_path / f"an image{suffix}"
    voxels = rng.integers(-900, 900, SHAPE).astype(np.int16)
    image = write(path, voxels)
    found = read_volume(path)
    assert found.layout == "volume" and found.is_placed
    assert found.voxels.dtype == np.int16
    np.testing.assert_array_equal(found.voxels, voxels)
    point = image.TransformContinuousIndexToPhysicalPoint([1.0, 2.5, 3.0])
    np.testing.assert_allclose(found.grid.to_world([1, 2.5, 3]) * FLIP, point)
    np.testing.assert_array_equal(read_place(str(path)).affine, found.grid.affine)
    entry = Entry("fixed image", str(path))
    header, findings = read_header(entry)
    assert (header.shape, header.dtype, findings) == (SHAPE, "int16", [])
    np.testing.assert_array_equal(read_voxels(entry)[0], voxels)


def test_axes_that_a_file_counts_in_ras_are_taken_as_such(tmp_path, rng):
    """As nibabel has them; 3D Slicer and PLUS write either."""
    voxels = rng.integers(0, 200, SHAPE).astype(np.uint8)
    lines = [
        *("NRRD0004", "type: uchar", "dimension: 3", "sizes: 5 6 7"),
        "space: right-anterior-superior",
        "space directions: (0,2,0) (-0.5,0,0) (0,0,3)",
        *("space origin: (4,-5,6)", "encoding: raw", "", ""),
    ]
    path = tmp_path / "ras.nrrd"
    path.write_bytes("\n".join(lines).encode() + voxels.tobytes(order="F"))
    found = read_volume(path)
    np.testing.assert_array_equal(found.voxels, voxels)
    np.testing.assert_allclose(
        found.grid.affine, [[0, -0.5, 0, 4], [2, 0, 0, -5], [0, 0, 3, 6], [0, 0, 0, 1]]
    )


def test_channels_time_and_planes_have_the_axes_of_other_files(tmp_path, rng):
    labels = rng.integers(0, 2, (*SHAPE, 3)).astype(np.uint8)
    write(tmp_path / "labels.nrrd", labels, channels=True)
    image = rng.random(SHAPE).astype(np.float32)
    write(tmp_path / "image.mha", image)
    sides = PairFiles(tmp_path / "image.mha", [tmp_path / "labels.nrrd"])
    raw, _ = read_files(sides)
    np.testing.assert_array_equal(raw.image, image)
    np.testing.assert_array_equal(raw.labels[0].voxels, labels)
    write(tmp_path / "time.nrrd", labels, place=False)
    found = read_volume(tmp_path / "time.nrrd")
    np.testing.assert_array_equal(found.voxels, labels)
    assert header_time_step(tmp_path / "time.nrrd") is None
    write(tmp_path / "plane.mha", image[..., 0], place=False)
    found = read_volume(tmp_path / "plane.mha")
    assert found.layout == "plane" and found.grid.shape == (5, 6, 1)
    np.testing.assert_array_equal(found.grid.affine, np.diag([-1, -1, 1, 1]))


def test_channels_of_a_plane_are_no_slices(tmp_path, rng):
    """As of a colour image, which is none to register; of a label they are taken."""
    channels = rng.integers(0, 2, (5, 6, 3)).astype(np.uint8)
    write(tmp_path / "colour.mha", channels, channels=True, place=False)
    found = read_volume(tmp_path / "colour.mha")
    assert found.grid.shape == (5, 6, 1)
    np.testing.assert_array_equal(found.voxels[:, :, 0], channels)
    write(tmp_path / "plane.mha", channels[..., 0], place=False)
    sides = PairFiles(tmp_path / "plane.mha", [tmp_path / "colour.mha"])
    raw, _ = read_files(sides)
    np.testing.assert_array_equal(raw.labels[0].voxels[:, :, 0], channels)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_itk_cannot_read_is_named(tmp_path, suffix):
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(b"no image")
    with pytest.raises(ValueError, match=f"broken{suffix}: cannot be read"):
        read_volume(path)


def test_half_a_metaimage_is_not_said_to_be_absent(tmp_path, rng):
    """ITK adds the last error of the system, whatever that was about."""
    path = tmp_path / "half.mha"
    write(path, rng.integers(0, 99, SHAPE).astype(np.int16))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="cannot be read .it is damaged, or its file"):
        read_volume(path)
