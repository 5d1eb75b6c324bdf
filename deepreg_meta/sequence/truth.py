"""Known motion, for sequences whose truth is known."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepreg_meta.geometry.nifti_field import read_field
from deepreg_meta.geometry.transform import Field
from deepreg_meta.sequence.frames import (
    Direction,
    FrameSequence,
    pair_indices,
    pair_name,
)


def find_truth(
    folder: str | Path, sequence: FrameSequence, direction: Direction
) -> dict[str, Path]:
    """
    Find the true field of every pair.

    :param folder: with a file such as `004_to_003.nii.gz` for each pair: from frame 4
        to frame 3, as the tracking writes its own fields.
    :param sequence: the frames.
    :param direction: of the pairs.
    :return: the file of each pair, by its name.
    :raises FileNotFoundError: when the folder or a file is not there.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"--truth: expected a folder, found none: {folder}.")
    names = [pair_name(*pair) for pair in pair_indices(len(sequence), direction)]
    files = {name: folder / f"{name}.nii.gz" for name in names}
    missing = [path.name for path in files.values() if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"--truth: {folder}: expected a field for each of {len(files)} pairs, "
            f"found none for {len(missing)} of them: {', '.join(missing[:3])}."
        )
    return files


def read_truth(path: Path, sequence: FrameSequence) -> NDArray[np.float64]:
    """
    Read a true field.

    :param path: displacements in mm, intent 1007, on the frames' grid.
    :param sequence: the frames.
    :return: ddf, (d1, d2, d3, 3), voxels.
    :raises ValueError: for another grid.
    """
    [field] = read_field(path).parts
    if not isinstance(field, Field) or not field.grid.is_same(sequence.grid, 0.01):
        raise ValueError(
            f"--truth: {path}: expected a displacement field in mm on the grid of the "
            f"frames, {sequence.grid.shape}, got another grid or kind."
        )
    turn = np.linalg.inv(sequence.grid.affine[:3, :3]).T
    return field.vectors.astype(np.float64) @ turn
