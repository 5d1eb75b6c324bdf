"""Pairs of 2-D images out of public sets: split by patient, made square, written."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deepreg_meta.study.split import deal_patients

SHARES = {"train": 0.6, "valid": 0.15, "test": 0.25}  # of the patients


def split_patients(patients: Sequence[str], seed: int) -> dict[str, list[str]]:
    """
    Deal patients to train, valid and test by `SHARES`; each is in one of them.

    :param patients: names, each once or often.
    :param seed: same seed, same splits.
    :return: sorted names by split, at least two each, who make a pair.
    :raises ValueError: for fewer than six patients.
    """
    number = len(set(patients))
    if number < 2 * len(SHARES):
        raise ValueError(f"splits: expected at least 6 patients, got {number}.")
    numbers = {name: max(2, round(SHARES[name] * number)) for name in ("test", "valid")}
    return deal_patients(patients, numbers, "train", seed)


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
    width, height = picture.size
    side = max(width, height)
    square = Image.new("L", (side, side))
    square.paste(picture, ((side - width) // 2, (side - height) // 2))
    how = Image.Resampling.NEAREST if is_label else Image.Resampling.BOX
    if not is_label and max(picture.size) < size:
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


def read_pixels(path: Path) -> NDArray:
    """Return the pixels of a PNG, as `stamp.digest` takes them."""
    with Image.open(path) as picture:
        return np.asarray(picture)
