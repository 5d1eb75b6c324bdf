"""Values and errors of deepreg_meta.evaluate.protocol.points."""

import numpy as np
import pytest

from deepreg_meta.evaluate.protocol.points import (
    read_pair_points,
    read_points,
    unpaired,
)
from deepreg_meta.geometry.grid import Grid

AFFINE = np.array([[0, -2.0, 0, 5], [0.5, 0, 0, -3], [0, 0, 3, 8], [0, 0, 0, 1]])
GRID = Grid((5, 6, 7), AFFINE)


def write(path, text):
    path.write_text(text)
    return path


def test_bare_numbers_are_voxels_and_stay_what_they_are(tmp_path):
    points = read_points(write(tmp_path / "a.csv", "4,5,6\n1.5,2,0.25\n"), GRID)
    assert points.names == ("1", "2")
    np.testing.assert_array_equal(points.voxels, [[4, 5, 6], [1.5, 2, 0.25]])
    np.testing.assert_allclose(points.world, [[-5, -1, 26], [1, -2.25, 8.75]])


def test_a_single_landmark_is_one_line(tmp_path):
    points = read_points(write(tmp_path / "a.csv", "4,5,6\n"), GRID)
    assert points.voxels.shape == (1, 3)


def test_named_columns_are_read_with_their_system(tmp_path):
    text = "name,x_ras,y_ras,z_ras\napex,-5,-1,26\n"
    points = read_points(write(tmp_path / "a.csv", text), GRID)
    assert points.names == ("apex",)
    np.testing.assert_allclose(points.world, [[-5, -1, 26]])
    np.testing.assert_allclose(points.voxels, [[4, 5, 6]])


def test_landmarks_of_two_images_are_matched_by_name(tmp_path, caplog):
    head = "name,x_ras,y_ras,z_ras\n"
    fixed = write(tmp_path / "f.csv", head + "a,0,0,0\nb,1,1,1\nc,2,2,2\n")
    moving = write(tmp_path / "m.csv", head + "c,7,7,7\nb,8,8,8\nd,9,9,9\n")
    both = read_pair_points((fixed, moving), (GRID, GRID), "case 1")
    assert both[0].names == both[1].names == ("b", "c")
    np.testing.assert_allclose(both[0].world[:, 0], [1, 2])
    np.testing.assert_allclose(both[1].world[:, 0], [8, 7])
    np.testing.assert_allclose(both[1].voxels, GRID.to_voxel(both[1].world))
    assert "case 1: 2 landmarks are in one image alone" in caplog.text


def test_bare_numbers_of_different_number_are_refused(tmp_path):
    fixed = write(tmp_path / "f.csv", "1,1,1\n2,2,2\n3,3,3\n")
    moving = write(tmp_path / "m.csv", "1,1,1\n3,3,3\n")
    with pytest.raises(ValueError, match=r"f.csv and .*m.csv: .*got 3 and 2\."):
        read_pair_points((fixed, moving), (GRID, GRID), "case 1")
    assert unpaired((fixed, fixed)) == []
    assert unpaired((fixed, tmp_path / "absent.csv")) == []
    named = write(tmp_path / "n.csv", "name,i,j,k\n2,2,2,2\n")
    both = read_pair_points((fixed, named), (GRID, GRID), "case 1")
    assert both[0].names == ("2",)  # by name, where one file has names


def test_landmarks_without_a_common_name_are_refused(tmp_path):
    head = "name,x_ras,y_ras,z_ras\n"
    files = (
        write(tmp_path / "f.csv", head + "a,0,0,0\n"),
        write(tmp_path / "m.csv", head + "b,0,0,0\n"),
    )
    with pytest.raises(ValueError, match="case 1: .*same names .*got a and b"):
        read_pair_points(files, (GRID, GRID), "case 1")
