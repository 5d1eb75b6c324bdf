"""Tests of deepreg_meta/sequence/read.py."""

import nibabel as nib
import numpy as np
import pytest

from deepreg_meta.geometry.picture_file import save_picture
from deepreg_meta.geometry.volume_file import save_volume
from deepreg_meta.sequence.read import header_time_step, read_sequence, read_stack
from tests.unit.sequence.examples import grid_of, texture


def save(path, voxels, units=("mm", "unknown"), step=1.0, affine=None):
    """Write a NIfTI file as programs of others do."""
    affine = grid_of((1, 1, 1)).affine if affine is None else affine
    image = nib.Nifti1Image(voxels, affine)
    image.header.set_xyzt_units(*units)
    if voxels.ndim > 3:
        image.header["pixdim"][4] = step
    nib.save(image, path)
    return path


@pytest.mark.parametrize("depth", [1, 5])
def test_time_is_the_last_axis_of_a_file(tmp_path, depth):
    """2-D+t as (X, Y, 1, T), 3-D+t as (X, Y, Z, T)."""
    voxels = texture((6, 7, depth, 3))
    path = save(tmp_path / "s.nii.gz", voxels, ("mm", "sec"), 0.02)
    sequence = read_sequence(path)
    assert len(sequence) == 3 and sequence.grid.shape == (6, 7, depth)
    np.testing.assert_array_equal(sequence.images[2], voxels[..., 2])
    np.testing.assert_allclose(sequence.grid.spacing_mm, [0.5, 0.8, 1.0])
    assert sequence.time_step_s == pytest.approx(0.02)
    assert sequence.unit == "mm" and sequence.frame(1).path is None


@pytest.mark.parametrize(
    ("unit", "step", "seconds"),
    [("sec", 0.5, 0.5), ("msec", 20.0, 0.02), ("usec", 500.0, 5e-4)],
)
def test_the_time_step_of_a_header_counts_in_its_unit(tmp_path, unit, step, seconds):
    path = save(tmp_path / "s.nii", texture((3, 4, 1, 2)), ("mm", unit), step)
    assert header_time_step(path) == pytest.approx(seconds)


@pytest.mark.parametrize(("unit", "step"), [("unknown", 1.0), ("hz", 2.0), ("sec", 0)])
def test_a_step_without_a_unit_of_time_says_nothing(tmp_path, unit, step):
    """1 without a unit is what is written where nothing is known."""
    path = save(tmp_path / "s.nii", texture((3, 4, 1, 2)), ("mm", unit), step)
    assert header_time_step(path) is None
    assert read_sequence(path).speed_unit == "mm/frame"


def test_a_frame_rate_replaces_the_header(tmp_path):
    path = save(tmp_path / "s.nii", texture((3, 4, 1, 2)), ("mm", "sec"), 0.5)
    assert read_sequence(path, frame_rate=80).time_step_s == 0.0125
    with pytest.raises(ValueError, match="--frame-rate: expected a number > 0, got 0"):
        read_sequence(path, frame_rate=0)


def test_a_third_axis_is_time_only_if_that_is_said(tmp_path):
    """(X, Y, N) may be a volume; then frames are of two axes, in ITK's plane."""
    voxels = texture((6, 7, 3))
    path = save(tmp_path / "s.nii.gz", voxels)
    with pytest.raises(ValueError, match=r"time as the fourth axis.*--axes xyt"):
        read_sequence(path)
    sequence = read_sequence(path, axes="xyt", frame_rate=50)
    np.testing.assert_array_equal(sequence.images[2, :, :, 0], voxels[..., 2])
    assert sequence.is_planar and sequence.grid.shape == (6, 7, 1)
    np.testing.assert_allclose(sequence.grid.spacing_mm, [0.5, 0.8, 1.0])
    with pytest.raises(ValueError, match=r"--axes xyt: expected .*got \(3, 4, 1, 2\)"):
        read_sequence(save(tmp_path / "t.nii", texture((3, 4, 1, 2))), axes="xyt")


def test_the_thickness_of_frames_with_time_as_third_axis_is_none_of_time(tmp_path):
    """pixdim[3] holds the time step there, in which no length is."""
    affine = np.diag([0.5, 0.8, 0.013, 1.0])
    path = save(tmp_path / "s.nii.gz", texture((6, 7, 3)), affine=affine)
    grid = read_sequence(path, axes="xyt").grid
    np.testing.assert_allclose(grid.spacing_mm, [0.5, 0.8, 1.0])


def test_frames_of_a_folder_come_in_natural_order(tmp_path):
    """2 before 10; what is no image, and what is hidden, is left out."""
    for number in (10, 2, 1):
        image = np.full((5, 4, 1), number)
        image[0] = 0
        save_picture(tmp_path / f"frame{number}.png", image, np.uint8)
    (tmp_path / "notes.txt").write_text("no frame")
    (tmp_path / ".frame3.png").write_text("no frame")
    sequence = read_sequence(tmp_path)
    assert [path.name for path in sequence.paths] == [
        "frame1.png", "frame2.png", "frame10.png",
    ]  # fmt: skip
    assert sequence.images[:, 1, 0, 0].tolist() == [1, 2, 10]
    assert sequence.images.dtype == np.uint8 and sequence.unit == "voxels"
    assert sequence.layout == "picture" and sequence.display == "picture"
    assert sequence.frame(2).path == sequence.paths[2]


def test_pictures_that_state_a_spacing_have_lengths_in_mm(tmp_path):
    for number in range(2):
        image = 200 * texture((5, 4, 1), number)
        save_picture(tmp_path / f"{number}.png", image, spacing=(0.3, 0.4))
    sequence = read_sequence(tmp_path)
    assert sequence.unit == "mm" and sequence.is_planar
    np.testing.assert_allclose(sequence.grid.spacing_mm, [0.3, 0.4, 1.0])


def test_a_list_of_files_keeps_its_order(tmp_path):
    """Types that differ become float32."""
    paths = [tmp_path / "b.nii.gz", tmp_path / "a.nii.gz"]
    images = [texture((4, 5, 3)), (100 * texture((4, 5, 3), 1)).astype(np.uint8)]
    for path, image in zip(paths, images, strict=True):
        save_volume(path, image, grid_of((4, 5, 3)).affine)
    sequence = read_sequence(paths)
    assert sequence.paths == tuple(paths) and sequence.images.dtype == np.float32
    np.testing.assert_array_equal(sequence.images[1], images[1])
    with pytest.raises(ValueError, match="--axes xyt: expected one file"):
        read_sequence(paths, axes="xyt")


def test_frames_have_one_grid(tmp_path):
    """The file that differs is named."""
    affine = grid_of((4, 5, 3)).affine
    save_volume(tmp_path / "a.nii", texture((4, 5, 3)), affine)
    moved = affine.copy()
    moved[0, 3] = 2.0
    save_volume(tmp_path / "b.nii", texture((4, 5, 3)), moved)
    with pytest.raises(ValueError, match=r"b.nii: expected the grid of the first fra"):
        read_sequence(tmp_path)
    save_volume(tmp_path / "b.nii", texture((4, 6, 3)), affine)
    with pytest.raises(ValueError, match=r"got \(4, 6, 3\)"):
        read_sequence([tmp_path / "a.nii", tmp_path / "b.nii"])


def test_what_is_no_sequence_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="--sequence: expected a file or a fo"):
        read_sequence(tmp_path / "none.nii")
    with pytest.raises(ValueError, match="expected frames as .png, .nii.* got none"):
        read_sequence(tmp_path)
    one = save(tmp_path / "one.nii", texture((4, 5, 1)))
    with pytest.raises(ValueError, match="expected at least two frames, got one"):
        read_sequence(one)
    with pytest.raises(ValueError, match="expected one folder or files, got 2 paths"):
        read_sequence([tmp_path, one])
    channels = save(tmp_path / "two.nii", texture((4, 5, 1, 3, 2)))
    with pytest.raises(ValueError, match=r"one channel and time as the last axis"):
        read_sequence(channels)
    with pytest.raises(ValueError, match=r"one.nii.*|two.nii: expected one frame"):
        read_sequence([one, channels])
    save_picture(tmp_path / "a.png", texture((4, 5, 1)))
    with pytest.raises(ValueError, match="got PNG and NIfTI files"):
        read_sequence(tmp_path)


@pytest.mark.parametrize(("value", "rule"), [(np.nan, "finite"), (0.5, "contrast")])
def test_frames_that_show_nothing_are_refused(tmp_path, value, rule):
    """By their number."""
    voxels = texture((4, 5, 1, 3))
    voxels[..., 2] = value
    path = save(tmp_path / "s.nii", voxels)
    with pytest.raises(ValueError, match=rf"expected .*{rule}.*in frame 2"):
        read_sequence(path)


def test_one_volume_may_be_read_as_a_mask(tmp_path):
    path = save(tmp_path / "mask.nii", (texture((4, 5, 3)) > 0.5).astype(np.uint8))
    assert read_stack(path, flag="--mask", allows_one=True).images.shape == (1, 4, 5, 3)
