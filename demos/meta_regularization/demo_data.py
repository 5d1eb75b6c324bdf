"""
Get the data of the meta-regularisation study: pairs of 2-D images, split by patient.

    python demos/meta_regularization/demo_data.py                 # made up on the spot
    python demos/meta_regularization/demo_data.py --from DIR --size 64

DIR holds some of the folders curvas_abdomen_ct, camus_echo, cxr_lungs and oasis2d, each
with images/ and labels/ (masks/, seg4/) as the README tells. Which patient is in which
split stands in splits.csv.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from deepreg_meta.dataset.gaussian_field import FieldOptions
from deepreg_meta.dataset.known_truth import write_known_truth
from deepreg_meta.study.made_up import write_synthetic
from deepreg_meta.study.pictures import copy_pairs, read_pixels, shrink, split_patients
from deepreg_meta.study.split import draw_pairs
from deepreg_meta.study.stamp import Written, prepare_once

logger = logging.getLogger(__name__)

HERE = Path(__file__).resolve().parent
SIGMAS = (10, 16)
LIVER = 3  # the one structure of the slices that every tested one has to show ...
MIN_SHARE = 0.02  # ... in so many of its pixels
NUM_PAIRS = {"train": 400, "valid": 20, "test": 60}  # of different patients


@dataclass(frozen=True)
class Kind:
    """
    Where images of one kind lie.

    :param folder: name of the source's folder.
    :param labels: name of the folder of labels in it.
    :param parts: words of a file's name that are the patient's.
    """

    folder: str
    labels: str
    parts: int


KINDS = {
    "liver": Kind("curvas_abdomen_ct", "labels", 1),
    "cardiac": Kind("camus_echo", "labels", 1),
    "chest": Kind("cxr_lungs", "masks", 2),
    "brain": Kind("oasis2d", "seg4", 2),
}


def patient_of(kind: Kind, name: str) -> str:
    """Return the patient that an image is of."""
    return "_".join(name.split("_")[: kind.parts])


def prepare(
    source: Path | None, output: Path, size: int = 64, seed: int = 0
) -> list[str]:
    """
    Write the data sets, or find them written.

    :param source: folder with some of the source folders; None makes images up.
    :param output: folder of the data sets; what this call wrote before is kept, and
        replaced where its arguments were others.
    :param size: pixels along each side.
    :param seed: of splits, pairs and fields.
    :return: the names of the data sets.
    :raises ValueError: when no source folder is there, or the output is not ours.
    """

    def write(folder: Path) -> Written:
        origin = source or write_synthetic(folder / "synthetic", seed)
        found = [name for name, one in KINDS.items() if (origin / one.folder).is_dir()]
        if not found:
            known = ", ".join(kind.folder for kind in KINDS.values())
            raise ValueError(f"--from: expected a folder with {known}, got {origin}.")
        rows = []
        for name in found:
            splits = _prepare_set(name, origin, folder, size, seed)
            rows += [(name, p, s) for s, patients in splits.items() for p in patients]
            logger.info("%s: %s", name, {s: len(p) for s, p in splits.items()})
        return Written(found, rows, list(folder.glob("*/png/*/*.png")))

    settings = {"source": str(source), "size": size, "seed": seed}
    return prepare_once(output, settings, write, read_pixels)


def _prepare_set(
    name: str, source: Path, output: Path, size: int, seed: int
) -> dict[str, list[str]]:
    """Write one data set; return its patients by split."""
    kind, folder = KINDS[name], output / name
    images = sorted((source / kind.folder / "images").glob("*.png"))
    names = [path.stem for path in images]
    splits = split_patients([patient_of(kind, n) for n in names], seed)
    labels = {}
    for path in images:
        shrink(path, folder / "png" / "images" / path.name, size, is_label=False)
        label = source / kind.folder / kind.labels / path.name
        target = folder / "png" / "labels" / path.name
        labels[path.stem] = shrink(label, target, size, is_label=True)
        if name == "liver":
            only = np.where(labels[path.stem] == LIVER, LIVER, 0).astype(np.uint8)
            Image.fromarray(only).save(target)
    for split, patients in splits.items():
        own = [n for n in names if patient_of(kind, n) in patients]
        if name == "liver":
            tested = [n for n in own if (labels[n] == LIVER).mean() >= MIN_SHARE]
            _write_liver(folder, split, own if split == "train" else tested, seed)
            continue
        if name == "cardiac":
            stems = sorted({n.rsplit("_", 1)[0] for n in own})
            pairs = [(f"{stem}_ED", f"{stem}_ES") for stem in stems]
        else:
            persons = [patient_of(kind, n) for n in own]
            pairs = draw_pairs(own, persons, NUM_PAIRS[split], seed)
        copy_pairs(folder / "png", folder / split, pairs)
    return splits


def _write_liver(folder: Path, split: str, names: Sequence[str], seed: int) -> None:
    """Write slices to be deformed in training, or pairs whose deformation is known."""
    png = folder / "png"
    if split == "train":  # an energy of 0: both images are the slice
        write_known_truth(
            png / "images", folder / split, FieldOptions(0.0), names=names
        )
        return
    for sigma in SIGMAS:
        write_known_truth(
            png / "images",
            folder / f"{split}_{sigma}",
            FieldOptions(float(sigma)),
            seed=seed + sigma,
            label_dir=png / "labels",
            names=names,
            fields_per_image=1 if split == "valid" else 3,
        )


def main(args: Sequence[str] | None = None) -> int:
    """Prepare the data sets."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--from", dest="source", type=Path, help="folder of data")
    parser.add_argument("--size", type=int, default=64, help="pixels along each side")
    parser.add_argument("--seed", type=int, default=0, help="of splits and fields")
    parser.add_argument("--output", type=Path, default=HERE / "dataset")
    parsed = parser.parse_args(args)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    prepare(parsed.source, parsed.output, parsed.size, parsed.seed)
    print(f"The data sets are in {parsed.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
