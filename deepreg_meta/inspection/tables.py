"""The tables of a data report."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepreg_meta.config import RunConfig
from deepreg_meta.evaluate.columns import rename_unit
from deepreg_meta.inspection.across import show
from deepreg_meta.inspection.data import DataReport, Split
from deepreg_meta.inspection.files import FileRecord
from deepreg_meta.inspection.finding import Section
from deepreg_meta.inspection.layout import count

MAX_ROWS = 30  # pairs of a split that are shown; beyond, the worst ones
FILES_HEADER = ("kind", "files", "shape", "spacing (mm)", "axes", "type", "values")
_MAX_VALUES = 4  # values of labels that are listed


def config_section(config: RunConfig) -> Section:
    """
    Say what a configuration makes of the data.

    :param config: the configuration.
    """
    dataset = config.dataset
    parts = {name: config.domain(name) for name in config.domains}
    shapes = f"moving {show(dataset.moving_shape)}, fixed {show(dataset.fixed_shape)}"
    align: str = config.align.mode
    if align in ("centroid", "sections"):
        align += f", label {config.align.label}"
    rows = [
        ("files", ", ".join(config.source)),
        ("method", config.method),
        ("data", f"{dataset.type}, {dataset.format}"),
        ("labels", _labels(config)),
        ("network's grid", shapes),
        ("initial alignment", align),
    ]
    rows += [(f"domain {name}", _domain(part)) for name, part in parts.items()]
    if config.adapt_frames is not None:
        rows.append(("frames of the sweep", str(config.adapt_frames[1])))
    if dataset.spacing_mm is not None:
        given = dataset.spacing_mm.model_dump()
        sides = (f"{role} {show(side)}" for role, side in given.items() if side)
        what, unit = "spacing, overridden", "voxels"
        if dataset.format == "png":
            what, unit = "spacing", "mm"
        elif dataset.format == "h5":
            what, unit = "spacing", "mm, voxels where a file has an affine"
        rows.append((what, f"{', '.join(sides)}: lengths are {unit}"))
    return Section("Configuration", ("key", "value"), rows)


def _domain(config: RunConfig) -> str:
    """Say what is special of one domain."""
    dataset = config.dataset
    return f"{dataset.type}, {dataset.format}, labels {_labels(config)}"


def _labels(config: RunConfig) -> str:
    if not config.dataset.labeled:
        return "none"
    if config.dataset.labels is None:
        return "channels"
    return ", ".join(f"{name} {i}" for name, i in config.dataset.labels.items())


def split_sections(report: DataReport) -> list[Section]:
    """
    Describe every split: its files, and its pairs before any network.

    :param report: of the data.
    """
    sections = []
    for split in report.splits:
        sections.append(_files_section(split))
        scored = [row for row in split.rows if "overlap_aligned" in row]
        if scored:
            sections.append(_pairs_section(split, scored))
    return sections


def _files_section(split: Split) -> Section:
    kinds: dict[str, list[FileRecord]] = {}
    for record in split.files:
        kinds.setdefault(record.entry.kind, []).append(record)
    rows = [(kind, *summary(group)) for kind, group in kinds.items()]
    title = f"{split.name}: {count(len(split.cases), 'case')} in "
    return Section(title + ", ".join(split.folders), FILES_HEADER, rows)


def summary(group: Sequence[FileRecord]) -> tuple[str, ...]:
    """
    Write what files have in common and how far they vary.

    :param group: files of a kind.
    :return: their number, shapes, spacings, axes, types and values.
    """
    headers = [record.header for record in group if record.header is not None]
    grids = [header.known_grid for header in headers if header.known_grid is not None]
    spacings = [np.round(grid.spacing_mm, 3) for grid in grids]
    return (
        str(len(group)),
        _range([header.shape[:3] for header in headers]),
        _range(spacings),
        _words([grid.orientation for grid in grids]),
        _words([header.dtype for header in headers]),
        _values(group),
    )


def _range(values: Sequence[Sequence[float] | NDArray]) -> str:
    """Write 31-40 x 46-59 x 36 for shapes or spacings that vary."""
    if not values or len({len(value) for value in values}) > 1:
        return "-"
    parts = []
    for column in np.array(values, float).T:
        low, high = f"{column.min():g}", f"{column.max():g}"
        parts.append(low if low == high else f"{low}-{high}")
    return " x ".join(parts)


def _words(words: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(words)) or "-"


def _values(group: Sequence[FileRecord]) -> str:
    """Write the range of intensities, or the values and channels of labels."""
    images = [record.image for record in group if record.image is not None]
    finite = [image for image in images if np.isfinite(image.low)]
    if finite:
        low, high = min(i.low for i in finite), max(i.high for i in finite)
        return f"{low:.3g} to {high:.3g}"
    if images:
        return "none"
    labels = [record.label for record in group if record.label is not None]
    if not labels:
        return "not read"
    values = sorted({value for label in labels for value in label.values})
    shown = ", ".join(f"{value:g}" for value in values)
    if len(values) > _MAX_VALUES:
        shown = f"{values[0]:g} to {values[-1]:g}"
    numbers = sorted({len(label.num_voxels) for label in labels})
    if numbers[-1] < 2:
        return shown
    few = f"{numbers[0]}-" if numbers[0] != numbers[-1] else ""
    return f"{shown}; {few}{numbers[-1]} labels"


def _pairs_section(split: Split, rows: list[dict[str, Any]]) -> Section:
    """Tabulate the scores of a split: the worst pairs where there are many."""
    has_labels = any("dsc_before" in row for row in rows)
    score = "dsc_before" if has_labels else "ncc_before"
    columns = _columns(rows, has_labels, split.unit)
    shown = rows
    notes = [_WHAT_LABELS if has_labels else _WHAT_IMAGES]
    if len(rows) > MAX_ROWS:
        shown = sorted(rows, key=lambda row: _number(row.get(score)))[:MAX_ROWS]
        notes.append(f"The {MAX_ROWS} worst of {len(rows)} pairs; cases.csv has all.")
    cells = [
        (row["case"], *(write(row.get(name)) for name, _, write in columns))
        for row in shown
    ]
    means = (
        "" if name == "num_landmarks" else write(_mean([row.get(name) for row in rows]))
        for name, _, write in columns
    )
    cells.append((f"mean of {len(rows)}", *means))
    header = ("case", *(title for _, title, _ in columns))
    return Section(f"{split.name}: pairs before any network", header, cells, notes)


_WHAT_LABELS = (
    "Dice of the first label and landmark error (TRE, root mean square of the case) "
    "after the initial alignment of the configuration, and with nothing but the "
    "centroids of the first label aligned: what a network has to beat."
)
_WHAT_IMAGES = (
    "Normalised cross-correlation (NCC) after the initial alignment of the "
    "configuration: what a network has to beat where both images are of one modality."
)
_Column = tuple[str, str, Callable[[Any], str]]


def _columns(rows: list[dict[str, Any]], has_labels: bool, unit: str) -> list[_Column]:
    columns: list[_Column] = [("overlap_aligned", "overlap", _fixed(2))]
    if not has_labels:
        return [*columns, ("ncc_before", "NCC", _fixed(3))]
    columns += [
        ("dsc_before", "Dice", _fixed(3)),
        ("dsc_centroids", "centroids", _fixed(3)),
    ]
    before, centred = (
        rename_unit(f"tre_{stage}_mm", unit) for stage in ("before", "centroids")
    )
    if any(row.get(before) is not None for row in rows):
        columns += [
            ("num_landmarks", "landmarks", _fixed(0)),
            (before, f"TRE ({unit})", _fixed(2)),
            (centred, "centroids", _fixed(2)),
        ]
    return columns


def _fixed(digits: int) -> Callable[[Any], str]:
    def write(value: Any) -> str:
        number = _number(value)
        return "-" if np.isnan(number) else f"{number:.{digits}f}"

    return write


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _mean(values: Sequence[Any]) -> float:
    numbers = [n for n in map(_number, values) if not np.isnan(n)]
    return float(np.mean(numbers)) if numbers else float("nan")
