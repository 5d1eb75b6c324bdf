"""
Get pairs of frames of echocardiograms: of patients, and of a simulated heart.

    python demos/test_time_training/sequence_data.py --from DIR

DIR holds the folder camus_echo with images/ and labels/; without it the simulated heart
is all there is. Which patient is in which split stands in splits.csv; hearts have a
seed each, and are in one split too.
"""

import argparse
import itertools
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from demo_data import HERE
from numpy.typing import NDArray
from PIL import Image

from deepreg_meta.geometry.nifti_field import write_field
from deepreg_meta.geometry.transform import Field
from deepreg_meta.geometry.volume_file import save_volume
from deepreg_meta.sequence.echo import EchoOptions
from deepreg_meta.sequence.simulated import EchoSequence, simulate
from deepreg_meta.study.pictures import copy_pairs, read_pixels, shrink, split_patients
from deepreg_meta.study.stamp import Written, prepare_once

logger = logging.getLogger(__name__)

CAMUS, SIMULATED = "camus", "simulated"
SIDE_MM = 80.0  # of a simulated frame
NUM_FRAMES = 24  # of a beat
NUM_HEARTS = {"train": 16, "valid": 8, "test": 12}
# folder of the simulated pairs -> (split, whether from end-diastole to end-systole)
PAIRS = {
    "train": ("train", None),
    "valid": ("valid", True),
    "beat": ("test", True),
    "neighbours": ("test", False),
}
NEIGHBOURS = (2, 4, 6)  # first frames of the pairs of neighbours, all in systole


def prepare(source: Path | None, output: Path, size: int, seed: int = 0) -> list[str]:
    """
    Write the pairs, or find them written.

    :param source: folder with camus_echo, or None.
    :param output: folder of the pairs; what this call wrote before is kept, and
        replaced where its arguments were others. Without a source, pairs of patients
        that are there are kept too.
    :param size: pixels along each side.
    :param seed: of splits and hearts.
    :return: the names of the data sets.
    :raises ValueError: for a source without camus_echo, or when the output is not ours.
    """
    if source is not None and not (source / "camus_echo").is_dir():
        raise ValueError(f"--from: expected a folder with camus_echo, got {source}.")

    def write(folder: Path) -> Written:
        sets, rows = [SIMULATED], []
        if source is not None:
            sets = [CAMUS, SIMULATED]
            rows += _write_camus(source / "camus_echo", folder / CAMUS, size, seed)
        rows += _write_simulated(folder / SIMULATED, size, seed)
        return Written(sets, rows, list(folder.glob("*/*/*_images/*")))

    settings = {"source": str(source), "size": size, "seed": seed}
    return prepare_once(output, settings, write, _voxels)


def _write_camus(
    source: Path, folder: Path, size: int, seed: int
) -> list[tuple[str, str, str]]:
    """Write pairs of end-diastole (moving) and end-systole; return who is where."""
    names = sorted(path.stem for path in (source / "images").glob("*.png"))
    for name in names:
        for kind in ("images", "labels"):
            file = f"{name}.png"
            target = folder / "png" / kind / file
            shrink(source / kind / file, target, size, is_label=kind == "labels")
    splits = split_patients([name.split("_")[0] for name in names], seed)
    for split, patients in splits.items():
        own = [name for name in names if name.split("_")[0] in patients]
        stems = sorted({name.rsplit("_", 1)[0] for name in own})
        pairs = [(f"{stem}_ED", f"{stem}_ES") for stem in stems]
        copy_pairs(folder / "png", folder / split, pairs)
    return [(CAMUS, p, split) for split, own in splits.items() for p in own]


def _write_simulated(folder: Path, size: int, seed: int) -> list[tuple[str, str, str]]:
    """Write pairs of frames of hearts with their truth; return which is where."""
    options = EchoOptions((size, size), SIDE_MM / size, NUM_FRAMES, noise_db=-20.0)
    rows, numbers = [], itertools.count(1000 * seed)
    for split, count in NUM_HEARTS.items():
        for number in itertools.islice(numbers, count):
            echo = simulate(number, options)
            for name, (own, is_beat) in PAIRS.items():
                if own == split:
                    for moving, fixed in frame_pairs(echo, is_beat):
                        case = f"heart{number:04d}_{moving:02d}_{fixed:02d}"
                        write_pair(folder / name, case, echo, moving, fixed)
            rows.append((SIMULATED, f"heart{number:04d}", split))
    return rows


def frame_pairs(echo: EchoSequence, is_beat: bool | None) -> list[tuple[int, int]]:
    """
    Choose pairs of frames, moving and fixed.

    :param echo: the sequence; its first frame is at end-diastole.
    :param is_beat: from end-diastole to end-systole, or from one frame to the next;
        None is both.
    """
    systole = round(echo.heart.systole * NUM_FRAMES)
    beat, neighbours = [(0, systole)], [(n, n + 1) for n in NEIGHBOURS]
    if is_beat is None:
        return beat + neighbours
    return beat if is_beat else neighbours


def write_pair(
    folder: Path, case: str, echo: EchoSequence, moving: int, fixed: int
) -> None:
    """
    Write a pair of frames in DeepReg's paired layout, with the true field.

    :param folder: of the test set.
    :param case: name of the pair.
    :param echo: the sequence.
    :param moving: index of the moving frame.
    :param fixed: index of the fixed frame.
    """
    name, affine = f"{case}.nii.gz", echo.grid.affine
    for role, index in (("moving", moving), ("fixed", fixed)):
        image = np.rint(255 * echo.images[index]).astype(np.uint8)
        save_volume(folder / f"{role}_images" / name, image, affine)
        save_volume(folder / f"{role}_labels" / name, echo.labels[index], affine)
    vectors = echo.ddf(fixed, moving) @ affine[:3, :3].T
    write_field(folder / "truth" / name, Field(echo.grid, vectors.astype(np.float32)))


def _voxels(path: Path) -> NDArray:
    """Return what a file shows, as `stamp.prepare_once` takes it."""
    return read_pixels(path) if path.suffix == ".png" else read_label(path)


def read_label(path: Path) -> NDArray:
    """
    Read a picture, or a volume of one slice.

    :param path: PNG or NIfTI.
    :return: (columns, rows, 1), its own numbers.
    """
    if path.suffix == ".png":
        with Image.open(path) as picture:
            return np.asarray(picture).T[:, :, None]
    return np.asanyarray(nib.load(path).dataobj).reshape(*nib.load(path).shape[:2], 1)


def read_image(path: Path) -> NDArray[np.float32]:
    """
    Read an image as the networks will see it.

    :param path: PNG or NIfTI.
    :return: (columns, rows, 1), in [0, 1].
    """
    voxels = read_label(path).astype(np.float32)
    return (voxels - voxels.min()) / np.ptp(voxels)


def main(args: Sequence[str] | None = None) -> int:
    """Write the pairs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--from", dest="source", type=Path, help="folder of data")
    parser.add_argument("--size", type=int, default=96, help="pixels along each side")
    parser.add_argument("--seed", type=int, default=0, help="of splits and hearts")
    parser.add_argument("--output", type=Path, default=HERE / "dataset" / "sequences")
    parsed = parser.parse_args(args)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        prepare(parsed.source, parsed.output, parsed.size, parsed.seed)
    except ValueError as err:
        parser.error(str(err))
    print(f"The pairs are in {parsed.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
