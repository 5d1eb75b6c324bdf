"""Pairs of 2-D images out of public sets: split by patient, made square, written."""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SHARES = {"train": 0.6, "valid": 0.15, "test": 0.25}  # of the patients


def split_patients(patients: Sequence[str], seed: int) -> dict[str, list[str]]:
    """
    Deal patients to the splits; each is in one of them.

    :param patients: names, each once or often.
    :param seed: same seed, same splits.
    :return: sorted names by split, at least two each, who make a pair.
    :raises ValueError: for fewer than six patients.
    """
    known = sorted(set(patients))
    if len(known) < 2 * len(SHARES):
        raise ValueError(f"splits: expected at least 6 patients, got {len(known)}.")
    order = [known[i] for i in np.random.default_rng(seed).permutation(len(known))]
    num_valid = max(2, round(SHARES["valid"] * len(known)))
    num_test = max(2, round(SHARES["test"] * len(known)))
    parts = {
        "test": order[:num_test],
        "valid": order[num_test : num_test + num_valid],
        "train": order[num_test + num_valid :],
    }
    return {split: sorted(parts[split]) for split in SHARES}


def draw_pairs(
    names: Sequence[str], patients: Sequence[str], number: int, seed: int
) -> list[tuple[str, str]]:
    """
    Draw pairs of images of different patients, no pair twice.

    :param names: of the images.
    :param patients: of each image.
    :param number: of pairs wanted; all there are, if fewer.
    :param seed: same seed, same pairs.
    :return: (moving, fixed), sorted.
    """
    pairs = [
        (a, b)
        for a, patient in zip(names, patients, strict=True)
        for b, other in zip(names, patients, strict=True)
        if patient != other
    ]
    chosen = np.random.default_rng(seed).permutation(len(pairs))[:number]
    return sorted(pairs[i] for i in chosen)


def make_square(
    picture: Image.Image, target: Path, size: int, is_label: bool
) -> NDArray:
    """
    Write a picture padded to a square, with zeros, at another size.

    :param picture: grey.
    :param target: PNG to write.
    :param size: pixels along each side.
    :param is_label: of the nearest pixel, where images are averaged.
    :return: the pixels.
    """
    side = max(picture.size)
    square = Image.new("L", (side, side))
    square.paste(picture, tuple((side - n) // 2 for n in picture.size))
    how = Image.Resampling.NEAREST if is_label else Image.Resampling.BOX
    if not is_label and side < size:
        how = Image.Resampling.BICUBIC
    target.parent.mkdir(parents=True, exist_ok=True)
    small = square.resize((size, size), how)
    small.save(target)
    return np.asarray(small)


def shrink(source: Path, target: Path, size: int, is_label: bool) -> NDArray:
    """
    Write a PNG as `make_square` does.

    :param source: grey PNG.
    :param target: PNG to write.
    :param size: pixels along each side.
    :param is_label: of the nearest pixel, where images are averaged.
    :return: the pixels.
    """
    with Image.open(source) as opened:
        return make_square(opened.convert("L"), target, size, is_label)


def copy_pairs(
    pictures: Path,
    output: Path,
    pairs: Sequence[tuple[str, str]],
    kinds: Mapping[str, str] | None = None,
) -> None:
    """
    Write pairs in DeepReg's paired layout.

    :param pictures: folder with folders of PNGs, `images` and, with labels, `labels`.
    :param output: of the pairs, named `<moving>--<fixed>`.
    :param pairs: (moving, fixed), names without `.png`.
    :param kinds: the folder of each kind; None is {image: images, label: labels}.
    """
    folders = kinds or {"image": "images", "label": "labels"}
    for moving, fixed in pairs:
        for role, name in (("moving", moving), ("fixed", fixed)):
            for kind, folder in folders.items():
                target = output / f"{role}_{kind}s" / f"{moving}--{fixed}.png"
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(pictures / folder / f"{name}.png", target)


def digest(output: Path) -> str:
    """
    Return a number that tells apart two data sets: of their splits and pixels.

    :param output: folder with `splits.csv`, and PNGs in `<set>/png/<kind>/`.
    """
    number = hashlib.sha256((output / "splits.csv").read_bytes())
    for path in sorted(output.glob("*/png/*/*.png")):
        number.update(path.relative_to(output).as_posix().encode())
        with Image.open(path) as picture:
            number.update(np.asarray(picture).tobytes())
    return number.hexdigest()
