"""Neighbouring frames of sequences as a data set of pairs, to train a network on."""

from collections.abc import Mapping
from pathlib import Path

from deepreg_meta.geometry.volume_file import save_volume
from deepreg_meta.results.folder import whole_folder
from deepreg_meta.sequence.frames import Direction, FrameSequence, pair_indices


def write_training_pairs(
    folder: str | Path,
    sequences: Mapping[str, FrameSequence],
    direction: Direction = "backward",
) -> Path:
    """
    Write the pairs of neighbours in DeepReg's paired layout.

    `dataset.dir.train` may be the folder, with `type: paired` and `format: nifti`: it
    holds moving_images and fixed_images with files <name>_<fixed frame>.nii.gz,
    intensities as stored.

    :param folder: a new or empty one, such as `data/train`.
    :param sequences: the frames, by the name of the sequence.
    :param direction: see `pair_indices`; that in which the network is to track.
    :return: the folder. It is written whole or not at all.
    :raises ValueError: for a folder that holds anything, or no sequence.
    """
    folder = Path(folder).expanduser()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder}: expected a new or empty folder for the pairs.")
    if not sequences:
        raise ValueError(f"{folder}: expected at least one sequence, got none.")
    with whole_folder(folder) as working:
        for name, sequence in sequences.items():
            _write(working, name, sequence, direction)
    return folder


def _write(
    folder: Path, name: str, sequence: FrameSequence, direction: Direction
) -> None:
    affine, is_planar = sequence.grid.affine, sequence.layout != "volume"
    for fixed, moving in pair_indices(len(sequence), direction):
        filename = f"{name}_{fixed:03d}.nii.gz"
        for kind, index in (("fixed_images", fixed), ("moving_images", moving)):
            image = sequence.images[index]
            save_volume(folder / kind / filename, image, affine, is_planar)
