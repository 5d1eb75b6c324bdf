"""Which data a study is of: a file beside the data, and its copy beside the results."""

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path

from numpy.typing import NDArray

STAMP = "dataset.json"


def check_data(data_dir: Path, output: Path) -> None:
    """
    Keep results of other data out of a study.

    :param data_dir: of the data sets, with their stamp.
    :param output: of the study; remembers which data it is of.
    :raises ValueError: when it is of others.
    """
    stamp, own = (data_dir / STAMP).read_text(), output / STAMP
    if own.is_file() and _identity(own.read_text()) != _identity(stamp):
        raise ValueError(
            f"{output}: expected a new folder, or a study of the same data, got one of "
            f"{own.read_text().strip()}. Choose another --output."
        )
    output.mkdir(parents=True, exist_ok=True)
    own.write_text(json.dumps(_identity(stamp)) + "\n")


def _identity(stamp: str) -> dict[str, object]:
    """Return what a stamp says of the data, wherever they came from."""
    return {k: v for k, v in json.loads(stamp).items() if k != "source"}


def digest(
    root: Path, splits: Path, images: Iterable[Path], read: Callable[[Path], NDArray]
) -> str:
    """
    Return a number that tells apart two data sets: of their splits and voxels.

    :param root: of the data sets.
    :param splits: file that says who is in which split.
    :param images: files below the root, in any order.
    :param read: gives the voxels of one, which compression does not change.
    :return: SHA-256, hexadecimal.
    """
    number = hashlib.sha256(splits.read_bytes())
    for path in sorted(images):
        number.update(path.relative_to(root).as_posix().encode())
        number.update(read(path).tobytes())
    return number.hexdigest()
