"""Tests of the rows of a study: endpoint errors of files in mm, counted in voxels."""

import numpy as np
import pytest

from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.nifti_field import write_field
from deepreg_meta.geometry.transform import Field
from deepreg_meta.geometry.volume_file import save_volume
from deepreg_meta.study.rows import endpoint_row, has_truth


@pytest.mark.parametrize("dimension", [2, 3])
def test_endpoint_errors_count_voxels_of_a_flipped_grid_of_other_spacing(
    tmp_path, dimension
):
    grid = Grid((5, 6, 1), np.diag([-2.0, 0.5, 1.0, 1.0]))

    def write(path, voxels):
        vectors = np.broadcast_to(voxels, (5, 6, 1, 3)) @ grid.affine[:3, :3].T
        path.parent.mkdir(exist_ok=True)
        write_field(path, Field(grid, vectors.astype(np.float32)), dimension)

    write(tmp_path / "truth" / "007.nii.gz", [3.0, -4.0, 0.0])
    write(tmp_path / "ddf.nii.gz", [3.0, -3.0, 0.0])
    row = endpoint_row(tmp_path / "ddf.nii.gz", tmp_path, "007")
    assert row == pytest.approx({"epe_before": 5.0, "epe": 1.0, "epe_p95": 1.0})


def test_the_error_within_the_labels_is_that_of_their_voxels(tmp_path):
    grid = Grid((4, 3, 1), np.eye(4))
    label = np.zeros((4, 3, 1), np.float32)
    label[:2, 0] = 3.0
    for kind in ("truth", "fixed_labels"):
        (tmp_path / kind).mkdir()
    found = np.zeros((4, 3, 1, 3), np.float32)
    found[0, 0, 0, 0] = 5.0  # one of the two voxels with a label, one of twelve
    write_field(tmp_path / "truth" / "a.nii.gz", Field(grid, np.zeros_like(found)))
    write_field(tmp_path / "ddf.nii.gz", Field(grid, found))
    save_volume(tmp_path / "fixed_labels" / "a.nii.gz", label, grid.affine)
    row = endpoint_row(tmp_path / "ddf.nii.gz", tmp_path, "a")
    assert row["epe_label"] == pytest.approx(2.5)
    assert row["epe_label_before"] == 0.0
    assert row["epe"] == pytest.approx(5.0 / 12.0)


def test_the_truth_is_known_where_its_folder_is(tmp_path):
    assert not has_truth(tmp_path)
    (tmp_path / "truth").mkdir()
    assert has_truth(tmp_path)
