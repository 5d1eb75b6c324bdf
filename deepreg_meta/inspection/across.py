"""Compare the files of a data set with each other: outliers, duplicates, pairs."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from deepreg_meta.dataset.flat import volume_shape
from deepreg_meta.inspection.files import FileRecord
from deepreg_meta.inspection.finding import Finding, problems, warnings

_MIN_FILES = 5  # fewer say nothing of what is usual
_USUAL = 0.8  # share of files that makes a value the usual one
_FACTOR = 2.0  # beyond the median by this, a value is unlike the others


def find_outliers(records: Iterable[FileRecord]) -> list[Finding]:
    """
    Find files whose shape, spacing, axes or numbers of channels are unlike the others.

    Where four of five files of a kind agree, the others are named; where they vary,
    those with a side or a voxel beyond half or twice the median.

    :param records: of all splits.
    :return: warnings.
    """
    found: list[Finding] = []
    for kind, group in _by_kind(records).items():
        if len(group) < _MIN_FILES:
            continue
        for what, read in _TRAITS.items():
            texts = [
                f"{record.entry.place}: {what} {value}, while {usual} of {kind}."
                for record, value, usual in _unusual(group, read)
            ]
            found += warnings("files unlike the others", texts)
    return found


def _by_kind(records: Iterable[FileRecord]) -> dict[str, list[FileRecord]]:
    groups: dict[str, list[FileRecord]] = defaultdict(list)
    for record in records:
        if record.header is not None and record.header.grid is not None:
            groups[record.entry.kind].append(record)
    return groups


def _shape(record: FileRecord) -> tuple[int, ...]:
    return volume_shape(record.header.shape)[:3] if record.header else ()


def _spacing(record: FileRecord) -> tuple[float, ...]:
    grid = record.header.grid if record.header else None
    return () if grid is None else tuple(np.round(grid.spacing_mm, 3).tolist())


def _axes(record: FileRecord) -> str:
    grid = record.header.grid if record.header else None
    return "" if grid is None else grid.orientation


_TRAITS: dict[str, Callable[[FileRecord], Any]] = {
    "shape": _shape,
    "spacing": _spacing,
    "axes": _axes,
}


def _unusual(
    group: Sequence[FileRecord], read: Callable[[FileRecord], Any]
) -> list[tuple[FileRecord, str, str]]:
    """Return (file, its value, what is usual) for the files that stand out."""
    values = [read(record) for record in group]
    usual, number = Counter(values).most_common(1)[0]
    if number >= _USUAL * len(group):
        said = f"it is {show(usual)} in {number} of {len(group)} files"
        return [
            (record, show(value), said)
            for record, value in zip(group, values, strict=True)
            if value != usual
        ]
    if isinstance(usual, str):
        return []
    median = np.median(np.array(values, float), axis=0)
    ratios = np.array(values, float) / median
    said = f"the median is {show(tuple(np.round(median, 3).tolist()))}"
    return [
        (record, show(value), said)
        for record, value, ratio in zip(group, values, ratios, strict=True)
        if (ratio > _FACTOR).any() or (ratio < 1 / _FACTOR).any()
    ]


def show(value: Any) -> str:
    """Write a shape or a spacing as 44 x 59 x 41."""
    if isinstance(value, str):
        return value
    return " x ".join(f"{part:g}" for part in value)


def find_unstated(records: Sequence[FileRecord]) -> list[Finding]:
    """
    Find headers that state no unit of length.

    :param records: of all splits.
    :return: one warning for all of them, as tools often leave the unit out.
    """
    places = [
        record.entry.place
        for record in records
        if record.header is not None and record.header.unit == "unknown"
    ]
    if not places:
        return []
    text = (
        f"{len(places)} of {len(records)} files state no unit of length, {places[0]} "
        "the first; their numbers count as mm."
    )
    return warnings("units that are not stated", [text])


def find_duplicates(records: Iterable[FileRecord]) -> list[Finding]:
    """
    Find images of equal voxels, whatever their headers.

    :param records: of all splits.
    :return: problems for images that two splits share, where results on one would be
        results on what the network was trained on; warnings for the others. An image
        that half of the cases share, as an atlas, is a warning too.
    """
    groups: dict[str, list[FileRecord]] = defaultdict(list)
    numbers: Counter[str] = Counter()
    for record in records:
        if record.image is not None:
            groups[record.image.digest].append(record)
            numbers[record.entry.kind] += 1
    found: list[Finding] = []
    for group in groups.values():
        if len(group) > 1:
            found.append(_judge_equals(group, numbers))
    return found


def _judge_equals(group: Sequence[FileRecord], numbers: Counter[str]) -> Finding:
    """Say what it means that these images have the same voxels."""
    kinds = Counter(record.entry.kind for record in group)
    # the first of each: train, valid or test, of whatever domain
    splits = {record.split.split(" ")[-1]: record for record in reversed(group)}
    shown = list(splits.values())[::-1] if len(splits) > 1 else list(group[:2])
    more = f" and {len(group) - len(shown)} more" if len(group) > len(shown) else ""
    places = " and ".join(record.entry.place for record in shown) + more
    if any(n >= max(3, numbers[kind] / 2) for kind, n in kinds.items()):
        text = f"{places} hold the same voxels. With an atlas that is meant so."
        return Finding("warning", "one image for many cases", text)
    if len(splits) > 1:
        text = (
            f"{places} hold the same voxels: what one split measures is known from the "
            "other. Keep a subject in one split."
        )
        return Finding("problem", "images that two splits share", text)
    title = "images that are there twice"
    if group[0].case == group[1].case:
        title = "pairs of an image and itself"
    return Finding("warning", title, f"{places} hold the same voxels.")


def check_pair(
    moving: FileRecord, fixed: FileRecord, by_header: bool
) -> tuple[dict[str, Any], list[Finding]]:
    """
    Compare the places of two images in space.

    :param moving: record of the moving image.
    :param fixed: record of the fixed image.
    :param by_header: whether the headers align the pair (`align: affine`).
    :return: `overlap_by_header`, the share of the fixed grid that lies in the moving
        grid, and `centres_apart_mm`; neither where an image has no place. What is
        wrong.
    """
    headers = moving.header, fixed.header
    if headers[0] is None or headers[1] is None:
        return {}, []
    first, second = headers[0].known_grid, headers[1].known_grid
    if first is None or second is None:
        return {}, []
    share = second.overlap(first)
    apart = float(np.linalg.norm(second.centre - first.centre))
    row = {"overlap_by_header": share, "centres_apart_mm": apart}
    places = f"{fixed.entry.place} and {moving.entry.place}"
    if by_header and share == 0:
        text = (
            f"{places}: expected grids that overlap by their headers, got none; their "
            f"centres are {apart:.4g} mm apart. Correct the headers, or align the "
            "images without them (`align: center`, deepreg_register --initial mass)."
        )
        return row, problems("pairs that do not overlap", [text])
    axes = second.orientation, first.orientation
    are_stated = all(header.place.has_orientation for header in headers if header)
    if not by_header and are_stated and axes[0] != axes[1]:
        text = (
            f"{places}: the axes point to {axes[0]} and to {axes[1]}, and the initial "
            "alignment lays them parallel as they are stored. Use `align: affine` or "
            "`dataset.grid.orientation`, or store both alike."
        )
        return row, warnings("pairs whose axes point different ways", [text])
    return row, []
