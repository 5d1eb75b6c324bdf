"""
Get the data of the test-time training study: MR of the hippocampus, split by patient.

    python demos/test_time_training/demo_data.py --from DIR

DIR holds the folder hippocampus with images/, labels/ and pairs_40.json, as the README
tells. The 40 pairs of that list are the tests; 40 of the other patients, drawn by a
fixed seed, are for choices, the rest is for training. The atlas of a patient for
choices is found as those of the tests were: the training image of the highest
correlation.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from deepreg_meta.dataset.gaussian_field import FieldOptions
from deepreg_meta.dataset.known_truth import write_known_truth
from deepreg_meta.study.stamp import Written, prepare_once

HERE = Path(__file__).resolve().parent
SIZE = (48, 64, 48)  # voxels of 1 mm
NUM_VALID, SEED = 40, 0
NUM_KNOWN = 20  # images for choices that are deformed, with their truth
NUM_FEW = 3  # pairs for choices that are adapted to for very long
LARGE = FieldOptions(sigma=4.0, width=(8.0, 16.0), reference=None, fold_free=True)


def read_scaled(path: Path) -> NDArray[np.float32]:
    """
    Read a volume as the networks will see it.

    Source: Zhu et al., ICRA 2021, III-A: clipped at six standard deviations from the
    mean, in [0, 1]; padded with zeros, or cut, about its centre.

    :param path: NIfTI.
    :return: shape = SIZE.
    """
    voxels = np.asanyarray(nib.load(path).dataobj).astype(np.float64)
    mean, deviation = voxels.mean(), voxels.std()
    voxels = np.clip(voxels, mean - 6 * deviation, mean + 6 * deviation)
    voxels = (voxels - voxels.min()) / np.ptp(voxels)
    return pad_or_cut(voxels).astype(np.float32)


def read_label(path: Path) -> NDArray:
    """Read a label map, padded or cut as the images are."""
    return pad_or_cut(np.asanyarray(nib.load(path).dataobj))


def pad_or_cut(voxels: NDArray) -> NDArray:
    """
    Bring a volume to the networks' grid without stretching it.

    :param voxels: (d1, d2, d3).
    :return: shape = SIZE; the odd voxel is added, or cut, at the far end.
    """
    for axis, wanted in enumerate(SIZE):
        missing = wanted - voxels.shape[axis]
        before = abs(missing) // 2
        if missing >= 0:
            widths = [(0, 0)] * 3
            widths[axis] = (before, missing - before)
            voxels = np.pad(voxels, widths)
        else:
            voxels = voxels.take(range(before, before + wanted), axis)
    return voxels


def undo_pad_or_cut(field: NDArray, shape: Sequence[int]) -> NDArray:
    """
    Bring a field on the networks' grid to the sides that a file has.

    :param field: shape = (*SIZE, 3).
    :param shape: (d1, d2, d3), of the file.
    :return: shape = (d1, d2, d3, 3); where the file was cut, as at the border.
    """
    for axis, wanted in enumerate(shape):
        missing = field.shape[axis] - wanted
        before = abs(missing) // 2
        if missing >= 0:
            field = field.take(range(before, before + wanted), axis)
        else:
            widths = [(0, 0)] * field.ndim
            widths[axis] = (before, -missing - before)
            field = np.pad(field, widths, mode="edge")
    return field


def rank_atlases(
    images: Path, targets: Sequence[str], atlases: Sequence[str]
) -> dict[str, list[str]]:
    """
    Order atlases by their global normalised cross-correlation with each target.

    :param images: folder of the volumes.
    :param targets: names of patients.
    :param atlases: names of others.
    :return: by target, the most alike first; of equal ones the first by name.
    """

    def normalized(name: str) -> NDArray[np.float32]:
        flat = read_scaled(images / f"{name}.nii.gz").ravel()
        flat -= flat.mean()
        return flat / np.linalg.norm(flat)

    ordered = sorted(atlases)
    known = np.stack([normalized(name) for name in tqdm(ordered, desc="atlases")])
    return {
        name: [ordered[i] for i in np.argsort(-known @ normalized(name), kind="stable")]
        for name in tqdm(targets, desc="targets")
    }


def prepare(source: Path, output: Path) -> Path:
    """
    Write the folders train, valid, test, known and few, or find them written.

    :param source: folder `hippocampus`.
    :param output: what this call wrote before is kept, and replaced where its
        arguments were others.
    :return: the output.
    :raises ValueError: for a source without the data, or when the output is not ours.
    """
    needed = {name: source / name for name in ("images", "labels", "pairs_40.json")}
    if missing := [name for name, path in needed.items() if not path.exists()]:
        raise ValueError(
            f"--from: expected a folder with {source.name}/{missing[0]}, got "
            f"{source.parent}."
        )

    def write(folder: Path) -> Written:
        splits = _write_splits(source, folder)
        rows = [("hippocampus", one, split) for split, own in splits.items()
                for one in own]  # fmt: skip
        images = [*folder.glob("*/images/*"), *folder.glob("*/*_images/*")]
        return Written(["hippocampus"], rows, images)

    settings = {"source": str(source), "size": SIZE, "valid": NUM_VALID,
                "known": NUM_KNOWN, "few": NUM_FEW, "seed": SEED,
                "large": asdict(LARGE)}  # fmt: skip
    prepare_once(output, settings, write, _voxels)
    return output


def _voxels(path: Path) -> NDArray:
    return np.asanyarray(nib.load(path).dataobj)


def _write_splits(source: Path, folder: Path) -> dict[str, list[str]]:
    """Deal the patients, write their images, and say who is in which split."""
    pairs = json.loads((source / "pairs_40.json").read_text())
    tests = {pair["test"]: pair["atlas"] for pair in pairs}
    others = sorted(
        path.name.removesuffix(".nii.gz")
        for path in (source / "images").glob("*.nii.gz")
        if path.name.removesuffix(".nii.gz") not in tests
    )
    rng = np.random.default_rng(SEED)
    valid = sorted(rng.choice(others, NUM_VALID, replace=False).tolist())
    train = [name for name in others if name not in valid]
    for kind in ("images", "labels"):
        (folder / "train" / kind).mkdir(parents=True)
        for name in train:
            path = source / kind / f"{name}.nii.gz"
            shutil.copyfile(path, folder / "train" / kind / path.name)
    ranked = rank_atlases(source / "images", valid, train)
    choices = {name: atlases[0] for name, atlases in ranked.items()}
    _write_pairs(source, folder / "valid", choices)
    _write_pairs(source, folder / "test", tests)
    _write_pairs(source, folder / "few", dict(list(choices.items())[:NUM_FEW]))
    _write_known(source, folder / "known", valid[:NUM_KNOWN])
    splits = {"train": train, "valid": choices, "test": tests}
    (folder / "splits.json").write_text(json.dumps(splits, indent=1) + "\n")
    return {name: list(own) for name, own in splits.items()}


def _write_known(source: Path, folder: Path, names: Sequence[str]) -> None:
    """Write images and what large deformations make of them, with the true fields."""
    write_known_truth(
        source / "images", folder, LARGE, SEED, source / "labels", names=names
    )


def _write_pairs(source: Path, folder: Path, pairs: Mapping[str, str]) -> None:
    """Write the target of each pair as its fixed image and the atlas as its moving."""
    for kind in ("images", "labels"):
        for side in ("fixed", "moving"):
            (folder / f"{side}_{kind}").mkdir(parents=True)
        for target, atlas in pairs.items():
            for side, name in (("fixed", target), ("moving", atlas)):
                path = folder / f"{side}_{kind}" / f"{target}.nii.gz"
                shutil.copyfile(source / kind / f"{name}.nii.gz", path)


def main(args: Sequence[str] | None = None) -> int:
    """Write the data set."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--from", dest="source", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=HERE / "dataset/hippocampus")
    parsed = parser.parse_args(args)
    try:
        output = prepare(parsed.source / "hippocampus", parsed.output)
    except ValueError as err:
        parser.error(str(err))
    splits = json.loads((output / "splits.json").read_text())
    print({name: len(split) for name, split in splits.items()}, "in", output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
