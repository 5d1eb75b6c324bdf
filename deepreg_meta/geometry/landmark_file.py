"""Files of landmarks: 3D Slicer's markups and tables."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepreg_meta.geometry.affine import FLIP, GeometryError
from deepreg_meta.geometry.grid import Grid

_Named = tuple[tuple[str, ...], NDArray[np.float64]]  # names, and points in RAS, mm

_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/"
    "Resources/Schema/markups-schema-v1.0.3.json#"
)
# codes of 3D Slicer before version 4.11
_SYSTEMS = {"RAS": "RAS", "LPS": "LPS", "0": "RAS", "1": "LPS"}
_AXES = "xyz"


def parse_markups(text: str) -> _Named:
    """
    Read a `.mrk.json` file.

    :param text: of the file.
    :return: names and points (n, 3), RAS mm, of all its lists of points.
    :raises GeometryError: for points that cannot be placed.
    :raises ValueError: for text that is not JSON.
    """
    content = json.loads(text)
    lists = content.get("markups") if isinstance(content, dict) else None
    if not lists or not all(isinstance(markup, dict) for markup in lists):
        raise GeometryError("expected 3D Slicer markups with a list of points.")
    names: list[str] = []
    points: list[NDArray] = []
    for markup in lists:
        if markup.get("type") != "Fiducial":
            raise GeometryError(
                "expected markups of the type Fiducial (a list of points), got "
                f"{markup.get('type')!r}."
            )
        unit = markup.get("coordinateUnits", "mm")
        if unit not in ("mm", ["mm"] * 3):
            raise GeometryError(f"expected coordinates in mm, got {unit!r}.")
        # LPS where nothing is said, by the schema
        flip = _flip(str(markup.get("coordinateSystem", "LPS")))
        for number, point in enumerate(markup.get("controlPoints", []), start=1):
            name = str(point.get("label") or point.get("id") or number)
            is_set = point.get("positionStatus", "defined") == "defined"
            names.append(name)
            points.append(
                flip * _coordinates(point.get("position") if is_set else None, name)
            )
    return tuple(names), np.array(points).reshape(-1, 3)


def format_markups(names: Sequence[str], points: NDArray) -> str:
    """
    Return the text of a `.mrk.json` file.

    :param names: n names.
    :param points: (n, 3), RAS mm; LPS in the file.
    """
    control_points = [
        {
            "id": str(number),
            "label": name,
            "description": "",
            "associatedNodeID": "",
            "position": (FLIP * point).tolist(),
            "orientation": [-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0],
            "selected": True,
            "locked": False,
            "visibility": True,
            "positionStatus": "defined",
        }
        for number, (name, point) in enumerate(zip(names, points, strict=True), start=1)
    ]
    markup = {
        "type": "Fiducial",
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "locked": False,
        "fixedNumberOfControlPoints": False,
        "labelFormat": "%N-%d",
        "lastUsedControlPointNumber": len(control_points),
        "controlPoints": control_points,
        "measurements": [],
    }
    return json.dumps({"@schema": _SCHEMA, "markups": [markup]}, indent=2) + "\n"


def parse_fcsv(text: str) -> _Named:
    """
    Read a `.fcsv` file.

    :param text: of the file.
    :return: names and points (n, 3), RAS mm.
    :raises GeometryError: when its head does not state system and columns, or for
        points that cannot be placed.
    """
    lines = text.splitlines()
    head = dict(
        [part.strip() for part in line.lstrip("# ").split("=", 1)]
        for line in lines
        if line.startswith("#") and "=" in line
    )
    for key in ("CoordinateSystem", "columns"):
        if key not in head:
            raise GeometryError(
                f"expected a line `# {key} = ...` as 3D Slicer writes it, found none."
            )
    flip = _flip(head["CoordinateSystem"])
    columns = [column.strip() for column in head["columns"].split(",")]
    rows = csv.reader(line for line in lines if line.strip() and line[0] != "#")
    names, points = [], []
    for number, row in enumerate(rows, start=1):
        cells = dict(zip(columns, row, strict=False))
        name = cells.get("label") or cells.get("id") or str(number)
        names.append(name)
        points.append(flip * _coordinates([cells.get(axis) for axis in _AXES], name))
    return tuple(names), np.array(points).reshape(-1, 3)


def parse_csv(text: str, grid: Grid | None) -> _Named:
    """
    Read a table.

    :param text: of the file.
    :param grid: of the image whose voxels are counted by columns i, j, k; in 2-D by i
        and j.
    :return: names and points (n, 3), RAS mm.
    :raises GeometryError: when the columns do not state the coordinate system, or for
        points that cannot be placed.
    """
    reader = csv.DictReader(io.StringIO(text), skipinitialspace=True)
    header = [str(name).strip().lower() for name in reader.fieldnames or ()]
    reader.fieldnames = header
    system, columns = _system(header)
    if system == "voxel" and grid is None:
        raise GeometryError(
            "the columns i, j, k count voxels: name the image that they belong to."
        )
    if grid is not None and grid.shape[2] > 1 and len(columns) < 3:
        raise GeometryError(
            "the columns i, j count the voxels of a 2-D image, got one of shape "
            f"{grid.shape}: add a column k."
        )
    names, points = [], []
    for number, row in enumerate(reader, start=1):
        name = (row.get("name") or row.get("label") or str(number)).strip()
        values = [row[column] for column in columns]
        point = _coordinates([*values, 0.0][:3], name)
        if system == "voxel" and grid is not None:
            point = grid.to_world(point)
        names.append(name)
        points.append(point if system == "voxel" else _flip(system) * point)
    return tuple(names), np.array(points).reshape(-1, 3)


def format_csv(names: Sequence[str], points: NDArray) -> str:
    """
    Return the text of a `.csv` file.

    :param names: n names.
    :param points: (n, 3), RAS mm; LPS in the file, as the columns say.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name", *(f"{axis}_lps_mm" for axis in _AXES)])
    for name, point in zip(names, points, strict=True):
        writer.writerow([name, *(FLIP * point).tolist()])
    return text.getvalue()


def _system(header: Sequence[str]) -> tuple[str, list[str]]:
    """Return RAS, LPS or voxel, and the columns of the coordinates."""
    known = [
        (system, [f"{axis}_{system.lower()}{unit}" for axis in _AXES])
        for system in ("RAS", "LPS")
        for unit in ("", "_mm")
    ]
    known.append(("voxel", ["i", "j", "k"] if "k" in header else ["i", "j"]))
    stated = [found for found in known if set(found[1]) <= set(header)]
    if len(stated) != 1:
        raise GeometryError(
            "expected columns that state one coordinate system, x_ras, y_ras, z_ras or "
            "x_lps, y_lps, z_lps (mm) or i, j, k (voxels; in 2-D i, j), beside a "
            "column name, got "
            f"{', '.join(header) or 'none'}. Rename the columns: nibabel and "
            "FreeSurfer have RAS, ITK, ANTs and DICOM have LPS."
        )
    return stated[0]


def _flip(system: str) -> NDArray[np.float64]:
    """Return the signs that take a coordinate system to RAS."""
    if system not in _SYSTEMS:
        raise GeometryError(
            f"expected the coordinate system RAS or LPS, got {system!r}."
        )
    return FLIP if _SYSTEMS[system] == "LPS" else np.ones(3)


def _coordinates(values: Any, name: str) -> NDArray[np.float64]:
    """Return three numbers; `Landmarks` checks that they are finite."""
    try:
        point = np.array([float(value) for value in values])
    except (TypeError, ValueError):
        point = np.empty(0)
    if point.shape != (3,):
        raise GeometryError(f"expected three coordinates for {name!r}, got {values!r}.")
    return point
