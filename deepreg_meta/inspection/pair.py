"""Check one pair of files, without a configuration."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepreg_meta.evaluate import metric
from deepreg_meta.evaluate.plane import PICTURE
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.resample import resample
from deepreg_meta.inspection.across import check_pair, find_duplicates, find_unstated
from deepreg_meta.inspection.cases import num_problems
from deepreg_meta.inspection.entries import Entry
from deepreg_meta.inspection.facts import (
    as_trained,
    infer_indices,
    read_label,
    read_voxels,
    split_label,
)
from deepreg_meta.inspection.files import FileRecord, check_case
from deepreg_meta.inspection.finding import Finding, Section, problems
from deepreg_meta.inspection.overview import Tile, make_tile
from deepreg_meta.inspection.tables import FILES_HEADER, summary

_SIDES = ("fixed", "moving")


@dataclass(eq=False)
class PairReport:
    """
    What is known of a pair of files.

    :param records: of the files.
    :param row: of cases.csv.
    :param findings: what is wrong.
    :param sections: tables.
    :param tiles: the picture; none where the files cannot be used.
    """

    records: list[FileRecord]
    row: dict[str, Any]
    findings: list[Finding]
    sections: list[Section]
    tiles: list[Tile] = field(default_factory=list)


def check_files(
    fixed: str,
    moving: str,
    fixed_labels: Sequence[str] = (),
    moving_labels: Sequence[str] = (),
    fast: bool = False,
) -> PairReport:
    """
    Check two images and their labels, and how they lie by their headers.

    :param fixed: file of the fixed image.
    :param moving: file of the moving image.
    :param fixed_labels: one file with channels or an index map, or a file for each
        structure.
    :param moving_labels: likewise, in the same order.
    :param fast: read headers alone.
    :return: what was found.
    """
    entries = [Entry("fixed image", fixed), Entry("moving image", moving)]
    entries += [Entry("fixed label", path) for path in fixed_labels]
    entries += [Entry("moving label", path) for path in moving_labels]
    records = list(check_case("", "pair", entries, None, fast, loose=True))
    findings = [finding for record in records for finding in record.findings]
    findings += find_unstated(records) + find_duplicates(records)
    by_header, found = check_pair(records[1], records[0], by_header=True)
    findings += found
    row = {"case": "pair", "fixed_file": fixed, "moving_file": moving, **by_header}
    row["num_problems"] = num_problems(records)
    rows = [
        (f"{record.entry.kind}: {Path(record.entry.path).name}", *summary([record])[1:])
        for record in records
    ]
    sections = [Section("Files", ("file", *FILES_HEADER[2:]), rows)]
    report = PairReport(records, row, findings, sections)
    grids = _grids(records)
    if grids is not None:
        sections.append(_place_section(*grids, records))
        if not fast and not row["num_problems"]:
            _compare(report, *grids)
    return report


def _grids(records: Sequence[FileRecord]) -> tuple[Grid, Grid] | None:
    fixed, moving = (record.header for record in records[:2])
    if fixed is None or moving is None or fixed.grid is None or moving.grid is None:
        return None
    return fixed.grid, moving.grid


def _unit(records: Sequence[FileRecord]) -> str:
    """Return what lengths are counted in: pixels where an image states no mm."""
    headers = [record.header for record in records[:2]]
    return "mm" if all(h and h.place.has_affine for h in headers) else "pixels"


def _is_picture(record: FileRecord) -> bool:
    return record.header is not None and record.header.place.layout == "picture"


def _place_section(fixed: Grid, moving: Grid, records: Sequence[FileRecord]) -> Section:
    """Tell how the grids lie by the headers, and with their centres aligned."""
    unit = _unit(records)
    axes = (
        "-" if _is_picture(record) else grid.orientation
        for record, grid in zip(records, (fixed, moving), strict=False)
    )
    shifted = moving.affine.copy()
    shifted[:3, 3] += fixed.centre - moving.centre
    centred = Grid(moving.shape, shifted)
    apart = np.linalg.norm(fixed.centre - moving.centre)
    rows = [
        ("centres apart", f"{apart:.1f} {unit}", f"0 {unit}"),
        *(
            (
                f"share of the {names[0]} image in the {names[1]} one",
                *(f"{a.overlap(b):.0%}" for a, b in pairs),
            )
            for names, pairs in (
                (_SIDES, ((fixed, moving), (fixed, centred))),
                (_SIDES[::-1], ((moving, fixed), (centred, fixed))),
            )
        ),
        ("axes, fixed / moving", " / ".join(axes), ""),
    ]
    return Section("Place in space", ("", "by the headers", "centres aligned"), rows)


def _compare(report: PairReport, fixed_grid: Grid, moving_grid: Grid) -> None:
    """Compare intensities and labels as they lie by the headers."""
    images = [read_voxels(record.entry)[0] for record in report.records[:2]]
    if images[0] is None or images[1] is None:
        return
    aligned = resample(images[1], moving_grid, fixed_grid)
    ncc = metric.ncc(images[0], aligned)
    report.row |= {"ncc_before": ncc}
    what = "Normalised cross-correlation (NCC) of the images"
    report.sections[-1].notes = [f"{what} as they lie by the headers: {ncc:.3f}."]
    labels = {side: _structures(report.records, side) for side in _SIDES}
    numbers = tuple(len(structures) for structures in labels.values())
    first: tuple[NDArray | None, NDArray | None] = None, None
    if numbers[0] != numbers[1]:
        text = (
            f"expected the same structures in both images, got {numbers[0]} of the "
            f"fixed and {numbers[1]} of the moving one."
        )
        report.findings += problems("labels that do not correspond", [text])
    elif differing := _differing_integers(labels):
        text = f"expected the same integers in both label maps, got {differing}."
        report.findings += problems("labels that do not correspond", [text])
    elif numbers[0]:
        moved = np.stack(list(labels["moving"].values())).astype(np.float32)
        warped = resample(moved, moving_grid, fixed_grid)
        _compare_labels(report, labels, warped, (fixed_grid, moving_grid))
        first = next(iter(labels["fixed"].values())), warped[0]
    report.tiles.append(
        make_tile(
            "by the headers",
            (images[0], aligned),
            first,
            fixed_grid.spacing_mm,
            PICTURE if _is_picture(report.records[0]) else fixed_grid.orientation,
            f"NCC {ncc:.3f}",
        )
    )


def _structures(
    records: Sequence[FileRecord], side: str
) -> dict[str, NDArray[np.bool_]]:
    """Read the structures of a side; of several files each is one, named by file."""
    files = [record for record in records if record.entry.kind == f"{side} label"]
    image = next(r.header for r in records if r.entry.kind == f"{side} image")
    shape = None if image is None else image.shape
    found: dict[str, NDArray[np.bool_]] = {}
    for record in files:
        stored, _ = read_label(record.entry, shape)
        if stored is None:
            continue
        voxels = as_trained(stored, record.entry, is_map=False)
        structures = split_label(voxels, infer_indices(voxels))
        stem = Path(record.entry.path).name.split(".")[0]
        if len(files) > 1:
            several = len(structures) > 1
            structures = {
                f"{stem} {name}" if several else stem: mask
                for name, mask in structures.items()
            }
        found |= structures
    return found


def _differing_integers(labels: dict[str, dict[str, NDArray[np.bool_]]]) -> str:
    """Say which integers two maps of several structures have; "" for the same ones."""
    names = [list(labels[side]) for side in _SIDES]
    is_map = all(name.isdecimal() for own in names for name in own)
    if not is_map or len(names[0]) < 2 or names[0] == names[1]:
        return ""
    fixed, moving = (", ".join(own) for own in names)
    return f"{fixed} in the fixed and {moving} in the moving one"


def _compare_labels(
    report: PairReport,
    labels: dict[str, dict[str, NDArray[np.bool_]]],
    warped: NDArray,
    grids: tuple[Grid, Grid],
) -> None:
    """Score each structure where the headers place it."""
    unit = _unit(report.records)
    measure, volumes = _volumes(grids, unit)
    rows, scores = [], []
    for (name, fixed), (other, moving), aligned in zip(
        labels["fixed"].items(), labels["moving"].items(), warped, strict=True
    ):
        dsc = metric.dsc(fixed, aligned)
        ends = metric.centroid(fixed), metric.centroid(moving)
        apart = "-"
        if ends[0] is not None and ends[1] is not None:
            places = grids[0].to_world(ends[0]), grids[1].to_world(ends[1])
            apart = f"{np.linalg.norm(places[0] - places[1]):.2f}"
        scores.append(dsc)
        sizes = (
            f"{mask.sum() * volume:.3g}"
            for mask, volume in zip((fixed, moving), volumes, strict=True)
        )
        shown = name if name == other else f"{name} / {other}"
        rows.append((shown, *sizes, f"{dsc:.3f}", apart))
    sizes_of = (f"{side} ({measure})" for side in _SIDES)
    header = ("label", *sizes_of, "Dice", f"centroids apart ({unit})")
    report.sections.append(Section("Labels by the headers", header, rows))
    report.row |= {"dsc_before": scores[0], "num_landmarks": len(scores) - 1}


def _volumes(grids: tuple[Grid, Grid], unit: str) -> tuple[str, list[float]]:
    """Return the measure of a voxel of either image: ml, of slices an area."""
    if any(grid.shape[2] > 1 for grid in grids):
        return "ml", [float(grid.spacing_mm.prod()) / 1000 for grid in grids]
    areas = [float(grid.spacing_mm[:2].prod()) for grid in grids]
    return "mm2" if unit == "mm" else unit, areas
