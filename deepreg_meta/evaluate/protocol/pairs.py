"""The pairs that are evaluated, and the tables that users write of them."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deepreg_meta.evaluate.learn2reg import SUFFIXES, field_stems

_POINTS = "landmarks"  # points of a table
REQUIRED = ("fixed", "moving")
OPTIONAL = (
    "case",
    "fixed_label",
    "moving_label",
    "fixed_landmarks",
    "moving_landmarks",
    "field",
)
Files = tuple[Path, Path]  # of the fixed and of the moving image


@dataclass(frozen=True)
class Method:
    """
    One of the challenge's metrics.

    :param name: column of the results.
    :param metric: sdlogj, dice, hd95 or tre.
    :param labels: values that count; None counts all that the pair has.
    :param points: which points count, `landmarks` or `keypoints`.
    """

    name: str
    metric: str
    labels: tuple[int, ...] | None = None
    points: str = ""


@dataclass(frozen=True)
class Pair:
    """
    The files of a pair.

    :param name: of the case.
    :param images: fixed and moving.
    :param fields: places where the field may lie, the first one that exists counts.
    :param labels: fixed and moving, or None.
    :param points: by kind, fixed and moving.
    :param mask: of the fixed image, or None.
    """

    name: str
    images: Files
    fields: tuple[Path, ...]
    labels: Files | None = None
    points: Mapping[str, Files] = field(default_factory=dict)
    mask: Path | None = None

    @property
    def field_file(self) -> Path:
        """The first of the fields that exists, else the one preferred."""
        there = (path for path in self.fields if path.is_file())
        return next(there, self.fields[0])

    def missing(self) -> list[str]:
        """Name the files that are not there; the scorer does without a mask, too."""
        files = [*self.images, *(self.labels or ())]
        files += [path for both in self.points.values() for path in both]
        problems = [f"{path}: no such file" for path in files if not path.is_file()]
        if not self.field_file.is_file():
            names = " or ".join(dict.fromkeys(path.name for path in self.fields))
            problems.append(f"no field {names} in {self.fields[0].parent}")
        return problems


@dataclass(frozen=True)
class Pairs:
    """
    What is evaluated.

    :param name: of the data set.
    :param pairs: at least one, each with a name of its own.
    :param shape: of the fields where the challenge states it.
    :param methods: the challenge's metrics.
    """

    name: str
    pairs: tuple[Pair, ...]
    shape: tuple[int, ...] | None
    methods: tuple[Method, ...]


def default_methods(
    pairs: tuple[Pair, ...], labels: tuple[int, ...] | None
) -> tuple[Method, ...]:
    """
    Choose the challenge's metrics, with its names, by the files that are there.

    :param pairs: what is evaluated.
    :param labels: values that count.
    """
    methods = [Method("LogJacDetStd", "sdlogj")]
    kinds = {kind for pair in pairs for kind in pair.points}
    for kind, name in (("keypoints", "TRE_kp"), ("landmarks", "TRE_lm")):
        if kind in kinds:
            methods.append(Method(name, "tre", points=kind))
    if any(pair.labels for pair in pairs):
        methods += [Method("DSC", "dice", labels), Method("HD95", "hd95", labels)]
    return tuple(methods)


def read_table(
    path: Path, data: Path, fields: Path | None, labels: tuple[int, ...] | None
) -> Pairs:
    """
    Read a table of pairs.

    :param path: CSV with the columns `fixed` and `moving` (images) and, where there are
        such, `case`, `fixed_label`, `moving_label`, `fixed_landmarks`,
        `moving_landmarks` and `field`.
    :param data: folder that the paths start from.
    :param fields: folder of the fields, for those without a column, and that a column's
        paths start from; None is the folder of the data.
    :param labels: values that count.
    :return: the pairs.
    :raises ValueError: for a table that cannot be used, with all its problems.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, skipinitialspace=True)
        rows = [dict(row) for row in reader]
        header = list(reader.fieldnames or [])
    unknown = [name for name in header if name not in (*REQUIRED, *OPTIONAL)]
    absent = [name for name in REQUIRED if name not in header]
    if unknown or absent or not rows:
        raise ValueError(
            f"{path}: expected a CSV file with a line per pair and the columns "
            f"{', '.join(REQUIRED)} (needed) and {', '.join(OPTIONAL)}, got "
            f"{len(rows)} lines with the columns {', '.join(header)}."
        )
    problems, pairs = [], []
    for number, row in enumerate(rows, start=2):
        cells = {name: (row.get(name) or "").strip() for name in (*REQUIRED, *OPTIONAL)}
        wrong = _incomplete(cells)
        problems += [f"line {number}: {text}" for text in wrong]
        if not wrong:
            pairs.append(_pair(cells, data, fields or data))
    names = [pair.name for pair in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    problems += [f"case {name} is there more than once" for name in twice]
    if problems:
        raise ValueError("\n  ".join([f"{path}: cannot be used:", *problems]))
    every = tuple(pairs)
    return Pairs(path.stem, every, None, default_methods(every, labels))


def _incomplete(cells: Mapping[str, str]) -> list[str]:
    """Tell what a line lacks: images, or one half of a pair of files."""
    wrong = [f"{name} is empty" for name in REQUIRED if not cells[name]]
    for kind in ("label", "landmarks"):
        if bool(cells[f"fixed_{kind}"]) != bool(cells[f"moving_{kind}"]):
            wrong.append(f"expected both fixed_{kind} and moving_{kind}, or none")
    return wrong


def _pair(cells: Mapping[str, str], data: Path, fields: Path) -> Pair:
    def files(kind: str) -> Files | None:
        if not cells[f"fixed{kind}"]:
            return None
        return data / cells[f"fixed{kind}"], data / cells[f"moving{kind}"]

    stems = field_stems(cells["fixed"], cells["moving"])
    places = field_places(fields, stems)
    if cells["field"]:
        places = (fields / cells["field"],)
    points = files("_landmarks")
    return Pair(
        name=cells["case"] or stems[0].removeprefix("disp_"),
        images=(data / cells["fixed"], data / cells["moving"]),
        fields=places,
        labels=files("_label"),
        points={} if points is None else {_POINTS: points},
    )


def field_places(folder: Path, stems: tuple[str, ...]) -> tuple[Path, ...]:
    """
    Say where a field may lie.

    :param folder: of the fields.
    :param stems: see `field_stems`.
    """
    suffixes = (*SUFFIXES, ".h5")  # the last for `physical` alone
    return tuple(folder / f"{stem}{suffix}" for stem in stems for suffix in suffixes)
