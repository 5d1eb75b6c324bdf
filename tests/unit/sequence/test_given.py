"""Tests of deepreg_meta/sequence/given.py."""

import numpy as np
import pytest

from deepreg_meta.geometry.landmarks import Landmarks, save_landmarks
from deepreg_meta.geometry.picture_file import save_picture
from deepreg_meta.geometry.volume_file import save_volume
from deepreg_meta.sequence.given import read_given, values_of
from tests.unit.sequence.examples import shifting, texture


@pytest.fixture
def sequence():
    return shifting()


@pytest.fixture
def label(sequence, tmp_path):
    """:return: path of an index map, and its voxels."""
    voxels = np.floor(3 * texture(sequence.grid.shape)).astype(np.uint8)
    save_volume(tmp_path / "label.nii.gz", voxels, sequence.grid.affine)
    return str(tmp_path / "label.nii.gz"), voxels


@pytest.fixture
def points(sequence, tmp_path):
    """:return: path of a table of two points, and where they are."""
    places = sequence.grid.to_world([[3.5, 4.0, 0.0], [10.0, 12.5, 0.0]])
    save_landmarks(tmp_path / "points.csv", Landmarks(("apex", "base"), places))
    return str(tmp_path / "points.csv"), places


def test_everything_is_read(sequence, label, points):
    later = dict(label_at=[(2, label[0])], points_at=[(1, points[0]), (3, points[0])])
    given = read_given(sequence, label[0], points[0], **later)
    np.testing.assert_array_equal(given.label, label[1])
    assert given.values == [1, 2] == values_of(given.label)
    assert given.points.names == ("apex", "base")
    np.testing.assert_allclose(given.points.points, points[1], atol=1e-6)
    assert list(given.label_at) == [2] and list(given.points_at) == [1, 3]
    nothing = read_given(sequence)
    assert nothing.label is None and nothing.points is None and nothing.values == []


def test_a_picture_keeps_its_values_and_points_may_count_pixels(sequence, tmp_path):
    mask = texture(sequence.grid.shape) > 0.5
    save_picture(tmp_path / "m.png", 255 * mask, np.uint8)
    (tmp_path / "p.csv").write_text("i,j\n3,4\n")
    given = read_given(sequence, str(tmp_path / "m.png"), str(tmp_path / "p.csv"))
    assert given.values == [255]
    np.testing.assert_allclose(given.points.points, sequence.grid.to_world([[3, 4, 0]]))


def test_later_ones_need_a_first_one_and_a_frame_of_their_own(sequence, label, points):
    path = label[0]
    with pytest.raises(ValueError, match="--label-at: expected --label too"):
        read_given(sequence, label_at=[(1, path)])
    with pytest.raises(ValueError, match="--points-at: expected --points too"):
        read_given(sequence, points_at=[(1, points[0])])
    for frames in ([0], [4], [2, 2]):
        with pytest.raises(ValueError, match=r"--label-at: .*from 1 to 3 .*got"):
            read_given(sequence, path, label_at=[(frame, path) for frame in frames])


def test_points_are_compared_by_their_names(sequence, points, tmp_path):
    other = tmp_path / "other.csv"
    save_landmarks(other, Landmarks(("lateral",), points[1][:1]))
    with pytest.raises(ValueError, match="--points-at 2: .* apex, base, got lateral"):
        read_given(sequence, points=points[0], points_at=[(2, str(other))])


@pytest.mark.parametrize(
    ("voxels", "rule"),
    [
        (0.5, "whole numbers"),
        (-1, "from 0 to 65535"),
        (0, "at least one structure"),
        (70000, "65535 at most"),
        (np.nan, "whole numbers"),
    ],
)
def test_a_label_that_is_no_index_map_is_refused(sequence, tmp_path, voxels, rule):
    image = np.zeros(sequence.grid.shape, np.float32)
    image[3, 4] = voxels
    save_volume(tmp_path / "l.nii", image, sequence.grid.affine)
    with pytest.raises(ValueError, match=f"l.nii: expected an index map .*{rule}"):
        read_given(sequence, str(tmp_path / "l.nii"))


def test_large_values_keep_their_numbers(sequence, tmp_path):
    image = np.zeros(sequence.grid.shape, np.int32)
    image[3, 4] = 4000
    save_volume(tmp_path / "l.nii", image, sequence.grid.affine)
    assert read_given(sequence, str(tmp_path / "l.nii")).values == [4000]


def test_points_beyond_the_frames_are_refused(sequence, tmp_path):
    """As where mm are given for pixels."""
    (tmp_path / "p.csv").write_text("name,i,j\napex,3,4\nbase,30,4\n")
    with pytest.raises(ValueError, match="p.csv: .*got base beyond them"):
        read_given(sequence, points=str(tmp_path / "p.csv"))
    (tmp_path / "p.csv").write_text("name,i,j\n")
    with pytest.raises(ValueError, match="p.csv: .*got none"):
        read_given(sequence, points=str(tmp_path / "p.csv"))
    with pytest.raises(FileNotFoundError):
        read_given(sequence, label=str(tmp_path / "none.nii"))
