"""Tests of deepreg_meta/sequence/truth.py."""

from dataclasses import replace

import numpy as np
import pytest

from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.nifti_field import write_field
from deepreg_meta.sequence.track import displacement_field
from deepreg_meta.sequence.truth import find_truth, read_truth
from deepreg_meta.sequence.write import write_frame_field
from tests.unit.sequence.examples import grid_of, shift_field, shifting, texture


def test_fields_are_found_and_read_as_they_were_written(tmp_path):
    """In voxels, to the rounding of the file; on a grid whose axes are turned."""
    affine = np.array([[0, 0.8, 0, 3], [-0.5, 0, 0, 4], [0, 0, 1, 0], [0, 0, 0, 1]])
    sequence = replace(shifting(), grid=Grid((20, 17, 1), affine))
    fields = {}
    for fixed, moving in ((1, 0), (2, 1), (3, 2)):
        fields[fixed] = texture((*sequence.grid.shape, 3), fixed)
        fields[fixed][..., 2] = 0
        write_frame_field(tmp_path, fixed, moving, fields[fixed], sequence)
    files = find_truth(tmp_path, sequence, "backward")
    assert list(files) == ["001_to_000", "002_to_001", "003_to_002"]
    for fixed, path in enumerate(files.values(), start=1):
        np.testing.assert_allclose(read_truth(path, sequence), fields[fixed], atol=1e-6)


def test_missing_fields_are_counted_and_named(tmp_path):
    sequence = shifting()
    with pytest.raises(FileNotFoundError, match="--truth: expected a folder"):
        find_truth(tmp_path / "none", sequence, "backward")
    field = shift_field(sequence)(1, 0)
    write_frame_field(tmp_path, 1, 0, field, sequence)
    with pytest.raises(
        FileNotFoundError, match=r"none for 2 of them: 002_to_001.nii.g"
    ):
        find_truth(tmp_path, sequence, "backward")
    with pytest.raises(FileNotFoundError, match=r"for 3 of them: 000_to_001"):
        find_truth(tmp_path, sequence, "forward")


def test_a_field_of_another_grid_is_refused(tmp_path):
    sequence = shifting()
    grid = grid_of((17, 20, 1))
    write_field(
        tmp_path / "f.nii.gz", displacement_field(np.zeros((17, 20, 1, 3)), grid)
    )
    with pytest.raises(
        ValueError, match="--truth: .*f.nii.gz: expected a displacement"
    ):
        read_truth(tmp_path / "f.nii.gz", sequence)
