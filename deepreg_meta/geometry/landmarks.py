"""
Landmarks: named points in space, from files and from labels.

Example::

    landmarks = read_landmarks("points.fcsv")
    save_landmarks("points.mrk.json", landmarks)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepreg_meta.geometry.affine import GeometryError
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.landmark_file import (
    format_csv,
    format_markups,
    parse_csv,
    parse_fcsv,
    parse_markups,
)
from deepreg_meta.geometry.volume_file import VolumeFile, read_volume
from deepreg_meta.geometry.whole_file import suffix_of, whole_file

POINT_SUFFIXES = (".mrk.json", ".fcsv", ".csv")
_LABEL_SUFFIXES = (".nii", ".nii.gz", ".png")
_THRESHOLD = 0.5  # of soft labels


@dataclass(frozen=True, eq=False)
class Landmarks:
    """
    Named points.

    :param names: N names, each there once.
    :param points: (N, 3), mm, RAS.
    """

    names: tuple[str, ...]
    points: NDArray[np.float64]

    def __post_init__(self) -> None:
        """:raises GeometryError: for points that are no points, or equal names."""
        points = np.asarray(self.points, dtype=np.float64).reshape(-1, 3)
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "names", tuple(self.names))
        if len(self.names) != len(points):
            raise GeometryError(
                f"landmarks: expected as many names as points, got {len(self.names)} "
                f"names, {len(points)} points."
            )
        bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
        if bad.size:
            raise GeometryError(
                f"landmarks: expected three finite coordinates, got "
                f"{points[bad[0]].tolist()} for {self.names[bad[0]]!r}."
            )
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise GeometryError(
                f"landmarks: expected each name once, got several of {twice}: points "
                "of two images are matched by name."
            )

    def __len__(self) -> int:
        """:return: number of points."""
        return len(self.names)


def read_landmarks(path: str | Path, grid: Grid | None = None) -> Landmarks:
    """
    Read landmarks.

    :param path: `.mrk.json` and `.fcsv` of 3D Slicer, or `.csv` whose columns state the
        coordinate system: name, x_ras, y_ras, z_ras or x_lps, y_lps, z_lps (mm), or
        voxel indices i, j, k, in 2-D i, j; or a label (.nii, .nii.gz, .png), see
        `landmarks_of_label`, of which trailing axes of one entry are dropped.
    :param grid: of the image whose voxels i, j, k count, and those of a label that does
        not say where it lies: a picture, or one whose affine is unset or the identity.
    :return: the landmarks, in the order of the file.
    :raises FileNotFoundError: when there is no such file.
    :raises GeometryError: for coordinates that are missing, not finite or of an unknown
        system, for names that are there twice, and for a label of another shape than
        the image's where only that says its place.
    :raises ValueError: for a file that cannot be read, or of another kind.
    """
    path = Path(path).expanduser()
    suffix = suffix_of(path)
    if suffix not in (*POINT_SUFFIXES, *_LABEL_SUFFIXES):
        raise ValueError(
            f"{path}: expected a file of landmarks that ends in .mrk.json, .fcsv or "
            f".csv, or a label that ends in .nii, .nii.gz or .png, got {suffix!r}."
        )
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a file of landmarks, found none.")
    try:
        if suffix in _LABEL_SUFFIXES:
            return _of_label_file(read_volume(path), grid)
        text = path.read_text(encoding="utf-8-sig")
        if suffix == ".mrk.json":
            return Landmarks(*parse_markups(text))
        if suffix == ".fcsv":
            return Landmarks(*parse_fcsv(text))
        return Landmarks(*parse_csv(text, grid))
    except GeometryError as err:
        raise GeometryError(f"{path}: {err}") from err
    except ValueError as err:
        raise ValueError(f"{path}: cannot be read ({err}).") from err


def _of_label_file(label: VolumeFile, grid: Grid | None) -> Landmarks:
    """Take the landmarks of a label, on the image's grid where it names no place."""
    voxels, own = label.voxels, label.grid
    while voxels.ndim > 3 and voxels.shape[-1] == 1:
        voxels = voxels[..., 0]
    if grid is not None and not label.is_placed:
        if own.shape != grid.shape:
            raise GeometryError(
                f"landmarks: expected the shape of the image, {grid.shape}, since the "
                f"label does not say where it lies, got {own.shape}."
            )
        own = grid
    return landmarks_of_label(voxels, own)


def save_landmarks(path: str | Path, landmarks: Landmarks) -> None:
    """
    Write landmarks, in LPS as 3D Slicer and ITK have them.

    :param path: ends in .mrk.json (3D Slicer markups) or .csv (name, x_lps_mm, ...).
    :param landmarks: what to write.
    :raises ValueError: for another suffix.
    """
    suffix = suffix_of(path)
    if suffix not in (".mrk.json", ".csv"):
        raise ValueError(
            f"{path}: landmarks are written to .mrk.json or .csv, got {suffix!r}."
        )
    write = format_csv if suffix == ".csv" else format_markups
    text = write(landmarks.names, landmarks.points)
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


def landmarks_of_label(
    volume: NDArray, grid: Grid, names: Mapping[str, int] | None = None
) -> Landmarks:
    """
    Take the centroid of each label for a landmark.

    :param volume: an index map (d1, d2, d3), whole numbers, 0 is background; or
        channels (d1, d2, d3, n) in [0, 1], of which voxels >= 0.5 count.
    :param grid: of the volume.
    :param names: the index, or the number of the channel (from 0), of each name wanted;
        None takes all that are there and names them by their numbers.
    :return: the landmarks, in the order of `names`, else of the numbers.
    :raises GeometryError: for a named label without any voxel, or a volume that is
        neither an index map nor has channels.
    """
    _check_on_grid(volume, grid)
    if volume.ndim == 4:
        masks = {
            index: volume[..., index] >= _THRESHOLD for index in range(volume.shape[3])
        }
        masks = {index: mask for index, mask in masks.items() if mask.any() or names}
    else:
        if not np.array_equal(volume, np.round(volume)):
            raise GeometryError(
                "landmarks: expected an index map of whole numbers, got values between "
                "them. Give soft labels as channels (d1, d2, d3, n)."
            )
        wanted = np.unique(volume[volume != 0]).astype(int)
        masks = {int(index): volume == index for index in wanted}
    chosen = {str(index): index for index in masks} if names is None else names
    points = []
    for name, index in chosen.items():
        mask = masks.get(index)
        if mask is None or not mask.any():
            raise GeometryError(
                f"landmarks: expected voxels of {name!r} ({index}), found none; there "
                f"are {list(masks)}."
            )
        points.append(_centroid(mask, grid))
    return Landmarks(tuple(chosen), np.array(points).reshape(-1, 3))


def _check_on_grid(volume: NDArray, grid: Grid) -> None:
    if volume.ndim not in (3, 4) or volume.shape[:3] != grid.shape:
        raise GeometryError(
            f"landmarks: expected a label on the grid {grid.shape}, got shape "
            f"{volume.shape}."
        )


def _centroid(mask: NDArray[np.bool_], grid: Grid) -> NDArray[np.float64]:
    return grid.to_world(np.argwhere(mask).mean(axis=0))
