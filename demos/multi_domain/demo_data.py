"""
Get the domains of the multi-domain study: pairs of 2-D images, split by patient.

    python demos/multi_domain/demo_data.py                        # made up on the spot
    python demos/multi_domain/demo_data.py --from DIR --size 64

DIR holds some of the folders that `DOMAINS` names. Which patient is in which split
stands in splits.csv. Of every domain there are

    train   pairs to train on where the domain is a source
    few     some of them: what fine-tuning has where the domain is the target
    valid   pairs of other patients, for choices
    test    pairs of yet other patients
    seen    the pairs of few and of test, images alone
    example the first pair of test, for a picture

and of those with too few patients `train` alone.
"""

import argparse
import logging
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from PIL import Image

from deepreg_meta.dataset.gaussian_field import FieldOptions
from deepreg_meta.dataset.known_truth import write_known_truth
from deepreg_meta.study.example import EXAMPLE
from deepreg_meta.study.made_up import write_synthetic
from deepreg_meta.study.pictures import (
    copy_pairs,
    make_square,
    read_pixels,
    shrink,
    split_patients,
)
from deepreg_meta.study.split import draw_pairs
from deepreg_meta.study.stamp import Written, prepare_once

logger = logging.getLogger(__name__)

HERE = Path(__file__).resolve().parent
NUM_PAIRS = {"train": 400, "few": 20, "valid": 20, "test": 60}
SIGMA = 10.0  # energy of the deformations of single images
FIELDS = {"train": 12, "valid": 2, "test": 4}  # of every such image, at most
# steps to the neighbours of a pixel, one after the other
_AROUND = [(-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1)]
MIN_BRAIN = 0.15  # share of a slice of the volumes that shows brain


@dataclass(frozen=True)
class Domain:
    """
    Where images of one domain lie, and what makes pairs of them.

    :param folder: name of the source's folder.
    :param pairs: of different `patients`, of `phases` (_ED and _ES of one patient), of
        `neighbours` (slices of one patient), or `deformed` images and themselves.
    :param labels: name of the folder of labels in it; "" without.
    :param landmarks: whether the labels are vessels, whose bifurcations are taken.
    :param parts: words of a file's name, split at _, that are the patient's.
    :param ending: of the names of its images, which is taken away.
    :param is_split: whether there are patients enough for validation and tests.
    """

    folder: str
    pairs: Literal["patients", "phases", "neighbours", "deformed"]
    labels: str = ""
    landmarks: bool = False
    parts: int = 1
    ending: str = ""
    is_split: bool = True


DOMAINS = {
    "brain": Domain("oasis2d", "patients", "seg4", parts=2),
    "chest": Domain("cxr_lungs", "patients", "masks", parts=2),
    "echo": Domain("camus_echo", "phases", "labels"),
    "retina": Domain(
        "chase_retina", "deformed", "vessels_1stHO", landmarks=True, parts=2
    ),
    # slices at various levels of the body: two of them are no pair
    "abdomen": Domain("curvas_abdomen_ct", "deformed", "labels"),
    "glioma_t1gd": Domain(
        "brats_slices", "neighbours", parts=2, ending="_T1Gd", is_split=False
    ),
    "glioma_t2": Domain(
        "brats_slices", "neighbours", parts=2, ending="_T2", is_split=False
    ),
    "ms_flair": Domain(
        "ms_brain_multicontrast/mni", "neighbours", ending="_FLAIR", is_split=False
    ),
}


def patient_of(domain: Domain, name: str) -> str:
    """Return the patient that an image is of; both eyes are of one."""
    words = "_".join(name.split("_")[: domain.parts])
    return words.rstrip("LR") if domain.landmarks else words


def neighbours(names: Sequence[str], domain: Domain) -> list[tuple[str, str]]:
    """
    Return the pairs of neighbouring slices of one patient, in both directions.

    :param names: of slices.
    :param domain: of them.
    :raises ValueError: for a name without the number of a slice.
    """
    slices = sorted((patient_of(domain, name), _level(name), name) for name in names)
    ways = [
        (a, b)
        for (patient, level, a), (other, next_level, b) in pairwise(slices)
        if patient == other and next_level - level == 1
    ]
    return sorted(ways + [(b, a) for a, b in ways])


def _level(name: str) -> int:
    """Return the number of a slice, which its name has after _z."""
    found = re.search(r"_z(\d+)", name)
    if found is None:
        raise ValueError(f"{name}: expected a slice's number after _z, got none.")
    return int(found[1])


def bifurcations(vessels: np.ndarray) -> np.ndarray:
    """
    Find where vessels part or cross.

    :param vessels: mask, 2-D.
    :return: mask of the pixels of their centre lines from which three lines or more
        lead away: so many times it comes to a line, going once around the pixel. Steps
        of an oblique line have three neighbours on it too, but lead away twice.
    """
    thin = sitk.BinaryThinning(sitk.GetImageFromArray((vessels > 0).astype(np.uint8)))
    line = sitk.GetArrayFromImage(thin) > 0
    wide, (height, width) = np.pad(line, 1), line.shape
    ring = [wide[1 + y : 1 + y + height, 1 + x : 1 + x + width] for y, x in _AROUND]
    begins = [~one & other for one, other in pairwise([*ring, ring[0]])]
    return line & (np.sum(begins, axis=0) >= 3)


def prepare(
    source: Path | None, output: Path, size: int = 64, seed: int = 0
) -> list[str]:
    """
    Write the domains, or find them written.

    :param source: folder with some of the source folders; None makes images up.
    :param output: folder of the domains; what this call wrote before is kept, and
        replaced where its arguments were others.
    :param size: pixels along each side.
    :param seed: of splits, pairs and fields.
    :return: the names of the domains.
    :raises ValueError: when fewer than two are there, or the output is not ours.
    """

    def write(folder: Path) -> Written:
        origin = source or write_synthetic(folder / "synthetic", seed)
        found = [
            name for name, one in DOMAINS.items() if (origin / one.folder).is_dir()
        ]
        if len(found) < 2:
            known = ", ".join(sorted({one.folder for one in DOMAINS.values()}))
            raise ValueError(
                f"--from: expected a folder with two or more of {known}, got {origin}."
            )
        rows = []
        for name in found:
            splits = _prepare_domain(DOMAINS[name], origin, folder / name, size, seed)
            rows += [(name, p, s) for s, patients in splits.items() for p in patients]
            logger.info("%s: %s", name, {s: len(p) for s, p in splits.items()})
        return Written(found, rows, list(folder.glob("*/png/*/*.png")))

    settings = {"source": str(source), "size": size, "seed": seed}
    return prepare_once(output, settings, write, read_pixels, "domain")


def _prepare_domain(
    domain: Domain, source: Path, folder: Path, size: int, seed: int
) -> dict[str, list[str]]:
    """Write one domain; return its patients by split."""
    names = _write_pictures(domain, source / domain.folder, folder / "png", size)
    patients = [patient_of(domain, name) for name in names]
    splits = {"train": sorted(set(patients))}
    if domain.is_split:
        splits = split_patients(patients, seed)
    for split, chosen in splits.items():
        own = [n for n, p in zip(names, patients, strict=True) if p in chosen]
        if domain.pairs == "deformed":
            number = min(FIELDS[split], max(1, NUM_PAIRS[split] // len(own)))
            _write_deformed(folder, split, own, seed, number)
            continue
        pairs = _pairs_of(domain, own, NUM_PAIRS[split], seed)
        copy_pairs(folder / "png", folder / split, pairs, _kinds(domain))
    if domain.is_split:
        _write_parts(folder, seed)
    return splits


def _kinds(domain: Domain) -> dict[str, str]:
    kinds = {"image": "images", "label": "labels"}
    return kinds if domain.labels else {"image": "images"}


def _write_pictures(domain: Domain, source: Path, target: Path, size: int) -> list[str]:
    """Write square PNGs of a domain; return their names."""
    names = []
    for path in sorted((source / "images").glob(f"*{domain.ending}.png")):
        name = path.stem.removesuffix(domain.ending)
        shrink(path, target / "images" / f"{name}.png", size, is_label=False)
        names.append(name)
        if domain.landmarks:
            _write_points(source / domain.labels / path.name, target, name, size)
        elif domain.labels:
            label = source / domain.labels / path.name
            shrink(label, target / "labels" / f"{name}.png", size, is_label=True)
    for path in sorted((source / "images").glob(f"*{domain.ending}.nii.gz")):
        names += _write_slices(path, target / "images", domain, size)
    return names


def _write_points(source: Path, target: Path, name: str, size: int) -> None:
    """Write the bifurcations of vessels, each of them one pixel of the small image."""
    with Image.open(source) as opened:
        vessels = np.asarray(opened.convert("L"))
    rows, columns = np.nonzero(bifurcations(vessels))
    side = max(vessels.shape)
    starts = [(side - n) // 2 for n in vessels.shape]
    small = np.zeros((size, size), np.uint8)
    scale = size / side
    small[
        np.minimum(((rows + starts[0] + 0.5) * scale).astype(int), size - 1),
        np.minimum(((columns + starts[1] + 0.5) * scale).astype(int), size - 1),
    ] = 255
    (target / "labels").mkdir(parents=True, exist_ok=True)
    Image.fromarray(small).save(target / "labels" / f"{name}.png")


def _write_slices(path: Path, target: Path, domain: Domain, size: int) -> list[str]:
    """Write the axial slices of a volume that show enough brain."""
    volume = np.asarray(nib.as_closest_canonical(nib.load(path)).dataobj)
    patient = path.name.removesuffix(f"{domain.ending}.nii.gz")
    names = []
    for index in range(volume.shape[2]):
        plane = volume[:, ::-1, index].T  # anterior up
        if (plane > 0).mean() < MIN_BRAIN:
            continue
        name = f"{patient}_z{index:03d}"
        picture = Image.fromarray(np.ascontiguousarray(plane).astype(np.uint8))
        make_square(picture, target / f"{name}.png", size, is_label=False)
        names.append(name)
    return names


def _pairs_of(
    domain: Domain, names: Sequence[str], number: int, seed: int
) -> list[tuple[str, str]]:
    """Return the pairs of a split."""
    if domain.pairs == "phases":
        stems = sorted({name.rsplit("_", 1)[0] for name in names})
        return [(f"{stem}_ED", f"{stem}_ES") for stem in stems]
    if domain.pairs == "neighbours":
        return neighbours(names, domain)
    return draw_pairs(names, [patient_of(domain, n) for n in names], number, seed)


def _write_deformed(
    folder: Path, split: str, names: Sequence[str], seed: int, number: int
) -> None:
    """Write images and themselves deformed, the truth beside them."""
    write_known_truth(
        folder / "png" / "images",
        folder / split,
        FieldOptions(SIGMA),
        seed=seed,
        label_dir=folder / "png" / "labels",
        names=names,
        fields_per_image=number,
    )


def _write_parts(folder: Path, seed: int) -> None:
    """Write `few`, of `train`, `seen`, that and the tests' images, and `example`."""
    for kind in sorted(path.name for path in (folder / "train").iterdir()):
        if not (folder / "train" / kind).is_dir():
            continue
        names = sorted(path.name for path in (folder / "train" / kind).iterdir())
        order = np.random.default_rng(seed).permutation(len(names))
        few = [names[i] for i in sorted(order[: NUM_PAIRS["few"]])]
        for name in few:
            _copy(folder / "train" / kind / name, folder / "few" / kind / name)
        first = min((folder / "test" / kind).iterdir())
        _copy(first, folder / EXAMPLE / kind / first.name)
        if kind.endswith("images"):
            for split in ("few", "test"):
                for path in sorted((folder / split / kind).iterdir()):
                    _copy(path, folder / "seen" / kind / path.name)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def main(args: Sequence[str] | None = None) -> int:
    """Prepare the domains."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--from", dest="source", type=Path, help="folder of data")
    parser.add_argument("--size", type=int, default=64, help="pixels along each side")
    parser.add_argument("--seed", type=int, default=0, help="of splits and pairs")
    parser.add_argument("--output", type=Path, default=HERE / "dataset")
    parsed = parser.parse_args(args)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    prepare(parsed.source, parsed.output, parsed.size, parsed.seed)
    print(f"The domains are in {parsed.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
