"""The rows of cases.csv and files.csv, and what their columns hold."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from deepreg_meta.geometry.whole_file import whole_file
from deepreg_meta.inspection.files import FileRecord

CASE_COLUMNS = {
    "split": "train, valid or test, after the name of the domain where there are some",
    "case": "name of the case, as in the file names",
    "fixed_file": "the fixed image",
    "moving_file": "the moving image",
    "overlap_by_header": "share of the fixed grid in the moving one by the headers, "
    "without any alignment",
    "centres_apart_mm": "distance of the two grids' centres by the headers, in mm",
    "overlap_aligned": "share of the fixed grid in the moving one after the initial "
    "alignment of the configuration",
    "ncc_before": "normalised cross-correlation of the images after that alignment",
    "dsc_before": "Dice of the first label after that alignment, in [0, 1]",
    "dsc_centroids": "Dice of the first label, its centroids aligned (in a sweep, that "
    "of the fixed label from the frames seen)",
    "num_landmarks": "label channels after the first",
    "tre_before_*": "landmark error after the initial alignment, root mean square over "
    "the landmarks, in mm or voxels",
    "tre_centroids_*": "the same with the centroids of the first label aligned",
    "num_problems": "problems of its files",
}
FILE_COLUMNS = {
    "split": "train, valid or test, after the name of the domain where there are some",
    "case": "name of the case",
    "kind": "moving_images, fixed_labels, ...",
    "file": "path (HDF5: and key)",
    "shape": "voxels along the axes as stored, channels last",
    "dtype": "type of the voxels as stored",
    "unit": "of lengths in the header; - where the format has none",
    "axes": "where the axes point: to R or L, A or P, S or I",
    "spacing1_mm": "voxel side along the first axis, in the unit of the header",
    "spacing2_mm": "along the second axis",
    "spacing3_mm": "along the third axis",
    "min": "least intensity",
    "p1": "percentile 1 of the intensities, of a sample in large images",
    "median": "median intensity",
    "p99": "percentile 99",
    "max": "greatest intensity",
    "num_bad": "voxels that are NaN or infinite",
    "values": "different values of a label file",
    "volumes_ml": "volume of each structure of a label file, in ml",
    "num_problems": "problems of the file",
}


def file_row(record: FileRecord) -> dict[str, Any]:
    """
    Describe a file in a row of files.csv.

    :param record: of the file.
    """
    header, image, label = record.header, record.image, record.label
    row: dict[str, Any] = {
        "split": record.split,
        "case": record.case,
        "kind": record.entry.kind,
        "file": record.entry.place,
        "num_problems": num_problems([record]),
    }
    if header is not None:
        row |= {
            "shape": " ".join(map(str, header.shape)),
            "dtype": header.dtype,
            "unit": header.unit,
        }
    grid = header.known_grid if header else None
    if grid is not None:
        row["axes"] = grid.orientation
        for number, side in enumerate(grid.spacing_mm, start=1):
            row[f"spacing{number}_mm"] = float(side)
    if image is not None:
        row |= {"min": image.low, "p1": image.p1, "median": image.median}
        row |= {"p99": image.p99, "max": image.high, "num_bad": image.num_bad}
    if label is not None:
        row["values"] = " ".join(f"{value:g}" for value in label.values)
        row["volumes_ml"] = " ".join(
            f"{name}={volume:.4g}" for name, volume in volumes_ml(record).items()
        )
    return row


def volumes_ml(record: FileRecord) -> dict[str, float]:
    """
    Return the volume of each structure of a label file, in ml.

    :param record: of the file; one whose voxels were not read has none.
    """
    grid = record.header.known_grid if record.header else None
    if record.label is None or grid is None:
        return {}
    voxel_ml = float(grid.spacing_mm.prod()) / 1000
    return {name: n * voxel_ml for name, n in record.label.num_voxels.items()}


def num_problems(records: Sequence[FileRecord]) -> int:
    """Count the problems of files."""
    return sum(f.level == "problem" for record in records for f in record.findings)


def write_rows(
    path: Path, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]
) -> None:
    """
    Write rows as CSV, whole or not at all.

    :param path: of the file.
    :param rows: cells by column; what is missing stays empty.
    :param columns: documented ones, in their order; a final * stands for a unit.
    """
    names = [name for pattern in columns for name in _expand(pattern, rows)]
    table = pd.DataFrame(list(rows), columns=names)
    with whole_file(path) as part:
        table.to_csv(part, index=False, float_format="%.6g")


def _expand(pattern: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not pattern.endswith("*"):
        return [pattern]
    stem = pattern.removesuffix("*")
    return sorted({name for row in rows for name in row if name.startswith(stem)})
