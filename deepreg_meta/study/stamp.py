"""
The data of a study: written once, beside a file that says which they are.

A copy of that file beside the results keeps results of other data out.
"""

import csv
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from deepreg_meta.results.folder import whole_folder

STAMP, SPLITS = "dataset.json", "splits.csv"
NOWHERE = "None"


class Written(NamedTuple):
    """
    What a writer of data sets has written.

    :param sets: their names.
    :param splits: name of the data set, patient and split, in any order.
    :param images: files that the data sets are of.
    """

    sets: list[str]
    splits: list[tuple[str, str, str]]
    images: list[Path]


def prepare_once(
    output: Path,
    settings: Mapping[str, object],
    write: Callable[[Path], Written],
    read: Callable[[Path], NDArray],
    what: str = "data",
) -> list[str]:
    """
    Have the data sets of a study written, unless they are there.

    :param output: folder of the data sets; what this function wrote before is kept, and
        replaced where its settings were others.
    :param settings: all that the data depend on; JSON can hold it. `source` is the
        folder that they are made from, `NOWHERE` for what is made up: then data that
        were made from a folder are kept.
    :param write: fills an empty folder, which becomes the output once it is whole.
    :param read: gives the voxels of an image.
    :param what: a data set is, the head of the first column of `splits.csv`.
    :return: the names of the data sets.
    :raises ValueError: when the output holds anything else.
    """
    own: dict[str, Any] = json.loads(json.dumps(settings))
    if own.get("source", NOWHERE) != NOWHERE:
        own["source"] = str(Path(own["source"]).expanduser().resolve())
    path = output / STAMP
    if path.is_file():
        saved = json.loads(path.read_text())
        # without a source what is there will do
        asked = {k: v for k, v in own.items() if (k, v) != ("source", NOWHERE)}
        same = {key: saved.get(key) for key in asked} == asked
        if same and {"sets", "digest"} <= saved.keys():
            return saved["sets"]
    elif output.exists() and any(output.iterdir()):
        raise ValueError(
            f"{output}: expected a new or empty folder, or one that this script "
            "filled. Choose another one."
        )
    with whole_folder(output) as working:
        sets, rows, images = write(working)
        write_table(working / SPLITS, (what, "patient", "split"), rows)
        number = digest(working, working / SPLITS, images, read)
        stamp = json.dumps({**own, "sets": sets, "digest": number}, indent=1)
        (working / STAMP).write_text(stamp + "\n", encoding="utf-8")
    return sets


def write_table(
    path: Path, head: Sequence[str], rows: Iterable[tuple[str, ...]]
) -> None:
    """Write sorted rows as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *sorted(rows)])


def check_data(data_dir: Path, output: Path) -> None:
    """
    Keep results of other data out of a study.

    :param data_dir: of the data sets, with their stamp.
    :param output: of the study; remembers which data it is of.
    :raises ValueError: when it is of others.
    """
    stamp = json.loads((data_dir / STAMP).read_text(encoding="utf-8"))
    stamp.pop("source", None)  # the same data may come from anywhere
    own = output / STAMP
    if own.is_file():
        saved = json.loads(own.read_text(encoding="utf-8"))
        if saved["digest"] != stamp["digest"]:
            raise ValueError(
                f"{output}: expected a new folder, or a study of the same data, got "
                f"one of {json.dumps(saved)}. Choose another --output."
            )
    output.mkdir(parents=True, exist_ok=True)
    own.write_text(json.dumps(stamp) + "\n", encoding="utf-8")


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
