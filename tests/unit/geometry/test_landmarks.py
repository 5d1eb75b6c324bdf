"""Tests of landmarks: names, files and labels."""

import nibabel as nib
import numpy as np
import pytest

from deepreg_meta.geometry.affine import GeometryError
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.landmarks import (
    Landmarks,
    landmarks_of_label,
    read_landmarks,
    save_landmarks,
)
from deepreg_meta.geometry.picture_file import save_picture
from deepreg_meta.geometry.volume_file import save_volume
from tests.unit.geometry.places import PAIRS, write_nifti

GRID = PAIRS["oblique"][0]  # (5, 6, 7)


def test_names_and_points_belong_together():
    landmarks = Landmarks(("apex", "base"), np.array([[1, 2, 3], [4, 5, 6]]))
    assert len(landmarks) == 2 and landmarks.points.dtype == np.float64
    assert len(Landmarks((), np.empty((0, 3)))) == 0


@pytest.mark.parametrize(
    "names, points, message",
    [
        (("a",), np.zeros((2, 3)), "as many names as points, got 1 names, 2 points"),
        (
            ("a",),
            [[1, np.nan, 3]],
            r"finite coordinates, got \[1.0, nan, 3.0\] for 'a'",
        ),
        (("a", "b", "a"), np.zeros((3, 3)), r"each name once, got several of \['a'\]"),
    ],
)
def test_points_that_cannot_be_matched_are_refused(names, points, message):
    with pytest.raises(GeometryError, match=message):
        Landmarks(names, np.array(points))


@pytest.mark.parametrize("name", ["points.mrk.json", "points.csv", "new/Points.CSV"])
def test_landmarks_come_back_from_a_file(name, rng, tmp_path):
    landmarks = Landmarks(('a, "b"', "Spitze ä"), rng.normal(0, 100, (2, 3)))
    save_landmarks(tmp_path / name, landmarks)
    read = read_landmarks(tmp_path / name)
    assert read.names == landmarks.names
    np.testing.assert_array_equal(read.points, landmarks.points)
    assert len(list((tmp_path / name).parent.iterdir())) == 1


def test_files_of_another_kind_are_refused(tmp_path):
    landmarks = Landmarks(("a",), np.zeros((1, 3)))
    with pytest.raises(ValueError, match=r"a.fcsv: .* to .mrk.json or .csv, got '.fcs"):
        save_landmarks(tmp_path / "a.fcsv", landmarks)
    with pytest.raises(ValueError, match=r"a.txt: .* ends in .mrk.json, .* got '.txt'"):
        read_landmarks(tmp_path / "a.txt")
    with pytest.raises(FileNotFoundError, match=r"a.csv: expected a file of landmarks"):
        read_landmarks(tmp_path / "a.csv")
    (tmp_path / "a.mrk.json").write_text("{")
    with pytest.raises(ValueError, match=r"a.mrk.json: cannot be read \(Expecting"):
        read_landmarks(tmp_path / "a.mrk.json")
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"a.csv: cannot be read"):
        read_landmarks(tmp_path / "a.csv")


def test_a_bad_point_is_told_with_the_file(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("name,x_ras,y_ras,z_ras\na,1,2,inf\n")
    with pytest.raises(GeometryError, match=r"a.csv: landmarks: .* three finite"):
        read_landmarks(path)
    path.write_text("name,x_ras,y_ras,z_ras\na,1,2,3\na,1,2,4\n")
    with pytest.raises(GeometryError, match=r"a.csv: landmarks: .* several of \['a'\]"):
        read_landmarks(path)


def test_an_index_map_gives_one_centroid_for_each_value():
    """Of (1, 2, 3) and (3, 2, 4) the middle is (2, 2, 3.5), in space by the affine."""
    volume = np.zeros(GRID.shape, np.uint8)
    volume[1, 2, 3] = volume[3, 2, 4] = 7
    volume[4, 5, 6] = 2
    landmarks = landmarks_of_label(volume, GRID)
    assert landmarks.names == ("2", "7")
    expected = GRID.to_world([[4, 5, 6], [2, 2, 3.5]])
    np.testing.assert_allclose(landmarks.points, expected)
    named = landmarks_of_label(volume.astype(float), GRID, {"gland": 7, "apex": 2})
    assert named.names == ("gland", "apex")
    np.testing.assert_allclose(named.points, expected[::-1])


def test_channels_give_one_centroid_each_of_their_upper_half():
    volume = np.zeros((*GRID.shape, 3), np.float32)
    volume[1, 2, 3, 0], volume[2, 2, 3, 0], volume[4, 4, 4, 0] = 0.5, 1, 0.49
    volume[0, 1, 2, 2] = 0.9
    landmarks = landmarks_of_label(volume, GRID)
    assert landmarks.names == ("0", "2")
    expected = GRID.to_world([[1.5, 2, 3], [0, 1, 2]])
    np.testing.assert_allclose(landmarks.points, expected)
    named = landmarks_of_label(volume, GRID, {"cyst": 2})
    assert named.names == ("cyst",)
    np.testing.assert_allclose(named.points, expected[1:])


def test_labels_without_landmarks_are_refused():
    volume = np.zeros((*GRID.shape, 2), np.float32)
    with pytest.raises(GeometryError, match=r"voxels of 'cyst' \(1\), found none"):
        landmarks_of_label(volume, GRID, {"cyst": 1})
    with pytest.raises(GeometryError, match=r"voxels of 'cyst' \(3\), found none"):
        landmarks_of_label(volume[..., 0], GRID, {"cyst": 3})
    with pytest.raises(GeometryError, match="index map of whole numbers"):
        landmarks_of_label(volume[..., 0] + 0.3, GRID)
    with pytest.raises(GeometryError, match=r"grid \(5, 6, 7\), got shape \(6, 6, 7\)"):
        landmarks_of_label(np.zeros((6, 6, 7)), GRID)
    assert len(landmarks_of_label(volume, GRID)) == 0


def test_a_label_file_gives_a_landmark_for_each_value(tmp_path):
    """Two blobs; their centres by hand, (1.5, 2, 3) and (4, 5, 6) in voxels."""
    volume = np.zeros(GRID.shape, np.uint8)
    volume[1:3, 2, 3], volume[4, 5, 6] = 3, 7
    save_volume(tmp_path / "marks.nii.gz", volume, GRID.affine)
    landmarks = read_landmarks(tmp_path / "marks.nii.gz")
    assert landmarks.names == ("3", "7")
    expected = GRID.to_world([[1.5, 2, 3], [4, 5, 6]])
    np.testing.assert_allclose(landmarks.points, expected, atol=1e-4)
    save_volume(tmp_path / "soft.nii", volume / 10, GRID.affine)
    with pytest.raises(GeometryError, match=r"soft.nii: .* index map of whole numbers"):
        read_landmarks(tmp_path / "soft.nii")


@pytest.mark.parametrize("end", [(), (1,), (1, 1)])
@pytest.mark.parametrize("is_placed", [True, False])
def test_a_label_without_a_place_lies_where_its_image_does(end, is_placed, tmp_path):
    """A label with an affine of its own keeps it, whatever the image's."""
    volume = np.zeros(GRID.shape, np.uint8)
    volume[1:3, 2, 3], volume[4, 5, 6] = 3, 7
    path = tmp_path / "marks.nii.gz"
    own = PAIRS["left-handed"][0] if is_placed else Grid(GRID.shape, np.eye(4))
    write_nifti(path, volume.reshape(*GRID.shape, *end), own.affine, intent=0)
    landmarks = read_landmarks(path, GRID)
    assert landmarks.names == ("3", "7")
    expected = (own if is_placed else GRID).to_world([[1.5, 2, 3], [4, 5, 6]])
    np.testing.assert_allclose(landmarks.points, expected, atol=1e-4)
    alone = read_landmarks(path).points
    np.testing.assert_allclose(alone, own.to_world([[1.5, 2, 3], [4, 5, 6]]), atol=1e-4)
    if is_placed:
        read_landmarks(path, GRID.padded((1, 0, 0)))
        return
    message = r"marks.nii.gz: .* image, \(7, 6, 7\), .* got \(5, 6, 7\)"
    with pytest.raises(GeometryError, match=message):
        read_landmarks(path, GRID.padded((1, 0, 0)))


def test_a_label_with_an_unset_affine_says_nothing_of_its_place(tmp_path):
    """nibabel would lay it around the origin."""
    volume = np.zeros(GRID.shape, np.uint8)
    volume[1, 2, 3] = 1
    image = nib.Nifti1Image(volume, None)
    image.header.set_zooms((2.0, 3.0, 4.0))
    nib.save(image, tmp_path / "marks.nii")
    points = read_landmarks(tmp_path / "marks.nii", GRID).points
    np.testing.assert_allclose(points, GRID.to_world([[1, 2, 3]]))


def test_a_picture_of_labels_lies_where_its_image_does(tmp_path):
    """Of a picture with pixels of (0.5, 2) mm."""
    label = np.zeros((6, 5, 1), np.uint8)
    label[2, 4] = 1
    save_picture(tmp_path / "points.png", label)
    grid = Grid((6, 5, 1), np.diag([-0.5, -2.0, 1.0, 1.0]))
    points = read_landmarks(tmp_path / "points.png", grid).points
    np.testing.assert_allclose(points, [[-1, -8, 0]])


def test_a_picture_of_labels_gives_the_centroid_of_each_value(tmp_path):
    """Columns 1 to 3 and rows 2 to 3; pixel (x, y) lies at (-x, -y, 0)."""
    label = np.zeros((6, 5, 1), np.uint8)
    label[1:4, 2:4], label[5, 0] = 3, 200
    save_picture(tmp_path / "points.png", label)
    landmarks = read_landmarks(tmp_path / "points.png")
    assert landmarks.names == ("3", "200")
    np.testing.assert_allclose(landmarks.points, [[-2, -2.5, 0], [-5, 0, 0]])
