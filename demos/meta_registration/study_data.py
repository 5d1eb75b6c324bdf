"""
Get the data of the study of meta-registration: single volumes, split by patient.

    python demos/meta_registration/study_data.py                  # phantoms, few
    python demos/meta_registration/study_data.py --size reduced --from DIR

DIR holds some of the folders mr_trus and hippocampus, as the README tells. Which
patient is in which split stands in splits.csv, which pairs are registered in pairs.csv.
"""

import argparse
import json
import logging
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from demo_data import HERE, save_gland
from numpy.typing import NDArray

from deepreg_meta.dataset.gaussian_field import FieldOptions
from deepreg_meta.dataset.known_truth import write_known_truth
from deepreg_meta.dataset.phantom import write_dataset
from deepreg_meta.study.split import deal_patients, draw_pairs
from deepreg_meta.study.stamp import Written, prepare_once, write_table

logger = logging.getLogger(__name__)

KINDS = ("images", "labels")
SEED = 0  # of splits, pairs and fields
# smooth, without folds, and as large as what parts two patients: in voxels
FIELDS = FieldOptions(sigma=3.0, width=(8.0, 16.0), reference=None, fold_free=True)


@dataclass(frozen=True)
class Size:
    """
    How much of a data set is taken.

    :param train: patients to train on, None for all that are left.
    :param valid: patients for choices; all their ordered pairs are registered.
    :param test: patients for the tests.
    :param pairs: of the tests' patients at most, drawn from all ordered pairs.
    :param fields: with known truth, for each image of the tests.
    """

    train: int | None
    valid: int
    test: int
    pairs: int
    fields: int


SMALL = Size(train=4, valid=2, test=3, pairs=3, fields=1)
SIZES = {
    "smoke": {"trus": SMALL, "hippocampus": SMALL},
    "reduced": {
        "trus": Size(train=None, valid=4, test=6, pairs=30, fields=2),
        "hippocampus": Size(train=60, valid=5, test=16, pairs=30, fields=1),
    },
    "full": {
        "trus": Size(train=None, valid=4, test=6, pairs=30, fields=2),
        "hippocampus": Size(train=None, valid=5, test=40, pairs=120, fields=1),
    },
}
SOURCES = {"trus": "mr_trus", "hippocampus": "hippocampus"}


def read_sources(name: str, folder: Path) -> dict[str, tuple[Path, Path]]:
    """
    Find the volumes of a data set and their labels.

    :param name: of the data set.
    :param folder: of its source.
    :return: image and label by the patient's name, of whom there is one volume each.
    :raises ValueError: when there are none, or a label is missing.
    """
    pairs = [(folder / "images", folder / "labels")]
    if name == "trus":  # the fixed images of pairs, whatever split they were in
        splits = ("train", "valid", "test")
        pairs = [
            (folder / split / "fixed_images", folder / split / "fixed_labels")
            for split in splits
        ]
    found = {
        path.name.removesuffix(".gz").removesuffix(".nii"): (path, labels / path.name)
        for images, labels in pairs
        for path in sorted(images.glob("*.nii*"))
    }
    missing = [label for _, label in found.values() if not label.is_file()]
    if not found or missing:
        got = f"no {missing[0]}" if missing else "no image"
        raise ValueError(f"{folder}: expected images with their labels, got {got}.")
    return found


def deal(name: str, folder: Path, known: Sequence[str], size: Size) -> dict[str, list]:
    """
    Deal the patients of a data set to the splits.

    Where the source names patients for one look (`pairs_40.json`), the tests are some
    of those whose files are there, and nobody else is.

    :param name: of the data set.
    :param folder: of its source.
    :param known: its patients.
    :param size: how many are taken.
    :return: names by split.
    """
    given, others, tests = folder / "pairs_40.json", list(known), []
    if given.is_file():
        held = {pair["test"] for pair in json.loads(given.read_text())}
        others = [patient for patient in known if patient not in held]
        tests = [patient for patient in known if patient in held]
        if size.test < len(tests):
            tests = deal_patients(tests, {"test": size.test}, "rest", SEED)["test"]
    numbers = {"valid": size.valid}
    if not tests:
        numbers = {"test": size.test, **numbers}
    if size.train is not None:
        numbers["train"] = size.train
        splits = deal_patients(others, numbers, "rest", SEED)
        splits.pop("rest")
    else:
        splits = deal_patients(others, numbers, "train", SEED)
    return {"test": sorted(tests), **splits}


def prepare(source: Path | None, output: Path, size: str) -> list[str]:
    """
    Write the data sets, or find them written.

    :param source: folder with some of the source folders; None generates phantoms.
    :param output: folder of the data sets; what this call wrote before is kept, and
        replaced where its arguments were others.
    :param size: name of one of `SIZES`.
    :return: the names of the data sets.
    :raises ValueError: when no source folder is there, or the output is not ours.
    """

    def write(folder: Path) -> Written:
        origin = source or _write_phantoms(folder / "phantoms")
        found = [name for name, own in SOURCES.items() if (origin / own).is_dir()]
        if not found:
            known = ", ".join(SOURCES.values())
            raise ValueError(f"--from: expected a folder with {known}, got {origin}.")
        dealt, drawn = [], []
        for name in found:
            splits, pairs = _prepare_set(
                name, origin / SOURCES[name], folder / name, SIZES[size][name]
            )
            dealt += [(name, p, split) for split in splits for p in splits[split]]
            drawn += [(name, split, *pair) for split in pairs for pair in pairs[split]]
            logger.info("%s: %s", name, {s: len(own) for s, own in splits.items()})
        write_table(folder / "pairs.csv", ("data", "split", "moving", "fixed"), drawn)
        volumes = [file for name in found for file in folder.glob(f"{name}/all/*/*")]
        return Written(found, dealt, volumes)

    sizes = {name: asdict(one) for name, one in SIZES[size].items()}
    settings = {"source": str(source), "sizes": sizes, "seed": SEED}
    return prepare_once(output, settings | {"fields": asdict(FIELDS)}, write, _voxels)


def _write_phantoms(folder: Path) -> Path:
    """Generate phantoms of MR-TRUS pairs, of which the TRUS will be taken."""
    number = SMALL.valid + SMALL.test + (SMALL.train or 0) + 1
    write_dataset(folder / SOURCES["trus"], number, 0, 0, SEED)
    return folder


def _voxels(path: Path) -> NDArray:
    return np.asanyarray(nib.load(path).dataobj)


def _prepare_set(
    name: str, source: Path, output: Path, size: Size
) -> tuple[dict[str, list[str]], dict[str, list[tuple[str, str]]]]:
    """Write one data set; return its patients and its pairs by split."""
    found = read_sources(name, source)
    splits = deal(name, source, sorted(found), size)
    for kind in KINDS:
        (output / "all" / kind).mkdir(parents=True)
    for patient in sorted(set().union(*splits.values())):
        image, label = found[patient]
        save = save_gland if name == "trus" else shutil.copyfile
        suffix = "".join(image.suffixes[-2:]) if image.suffix == ".gz" else ".nii"
        shutil.copyfile(image, output / "all" / "images" / f"{patient}{suffix}")
        save(label, output / "all" / "labels" / f"{patient}{suffix}")
    numbers = {"valid": size.valid * (size.valid - 1), "test": size.pairs}
    pairs = {
        split: draw_pairs(splits[split], splits[split], number, SEED)
        for split, number in numbers.items()
    }
    for split in ("train", "valid"):
        _copy_singles(output, split, splits[split])
    for split, own in pairs.items():
        _copy_pairs(output, split, own)
    _copy_pairs(output, "example", pairs["test"][:1])  # of Fig. 4
    write_known_truth(
        output / "all" / "images", output / "known", FIELDS, SEED,
        output / "all" / "labels", splits["test"], size.fields,
    )  # fmt: skip
    return splits, pairs


def _copy_singles(output: Path, split: str, names: Sequence[str]) -> None:
    """Write volumes any two of which may meet: for training, and its validation."""
    for kind in KINDS:
        (output / split / kind).mkdir(parents=True)
        for name in names:
            path = next((output / "all" / kind).glob(f"{name}.nii*"))
            shutil.copyfile(path, output / split / kind / path.name)


def _copy_pairs(output: Path, split: str, pairs: Sequence[tuple[str, str]]) -> None:
    """Write pairs in DeepReg's paired layout."""
    for kind in KINDS:
        for side in ("moving", "fixed"):
            (output / split / f"{side}_{kind}").mkdir(parents=True)
        for moving, fixed in pairs:
            for side, name in (("moving", moving), ("fixed", fixed)):
                path = next((output / "all" / kind).glob(f"{name}.nii*"))
                file = f"{moving}--{fixed}{path.name.removeprefix(name)}"
                shutil.copyfile(path, output / split / f"{side}_{kind}" / file)


def main(args: Sequence[str] | None = None) -> int:
    """Prepare the data sets."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--from", dest="source", type=Path, help="folder of data")
    parser.add_argument("--size", choices=SIZES, default="smoke")
    parser.add_argument("--output", type=Path, help="default: dataset/study_<size>")
    parsed = parser.parse_args(args)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    output = parsed.output or HERE / "dataset" / f"study_{parsed.size}"
    prepare(parsed.source, output, parsed.size)
    print(f"The data sets are in {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
