"""Tests of deepreg_meta/sequence/training_pairs.py."""

import numpy as np
import pytest

from deepreg_meta.geometry.volume_file import read_volume
from deepreg_meta.sequence.training_pairs import write_training_pairs
from tests.unit.sequence.examples import shifting


@pytest.mark.parametrize(
    ("direction", "pairs"),
    [("backward", {1: 0, 2: 1, 3: 2}), ("forward", {0: 1, 1: 2, 2: 3})],
)
def test_each_fixed_frame_has_its_neighbour_beside_it(tmp_path, direction, pairs):
    """Under one name in both folders, as DeepReg's loader wants it."""
    sequences = {"a": shifting(), "b": shifting(shape=(12, 13, 1))}
    folder = write_training_pairs(tmp_path / "train", sequences, direction)
    for name, sequence in sequences.items():
        for fixed, moving in pairs.items():
            for kind, index in (("fixed", fixed), ("moving", moving)):
                path = folder / f"{kind}_images" / f"{name}_00{fixed}.nii.gz"
                volume = read_volume(path)
                np.testing.assert_array_equal(volume.voxels, sequence.images[index])
                assert volume.grid.is_same(sequence.grid)
    assert len(list(folder.glob("*/*"))) == 12


def test_a_folder_of_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match="expected a new or empty folder"):
        write_training_pairs(tmp_path, {"a": shifting()})
    with pytest.raises(ValueError, match="expected at least one sequence"):
        write_training_pairs(tmp_path / "new", {})
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
