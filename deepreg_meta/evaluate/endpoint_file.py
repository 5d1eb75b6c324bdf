"""Endpoint errors of a registration whose truth is known, from the files of both."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepreg_meta.evaluate.metric.endpoint import endpoint_statistics
from deepreg_meta.geometry.affine import GeometryError
from deepreg_meta.geometry.transform import Field
from deepreg_meta.geometry.transform_file import load_transform
from deepreg_meta.geometry.volume_file import read_volume


class FieldPair(NamedTuple):
    """
    What was found and what is true, on the grid of the truth.

    :param ddf: what was found, (d1, d2, d3, 3), voxels.
    :param truth: (d1, d2, d3, 3), voxels.
    :param spacing_mm: (3,), voxel sides.
    """

    ddf: NDArray[np.float64]
    truth: NDArray[np.float64]
    spacing_mm: NDArray[np.float64]


def compare_fields(
    found: str | Path | None,
    truth: str | Path,
    label: str | Path | None = None,
) -> dict[str, float]:
    """
    Measure the endpoint errors of a transform file against the file of the truth.

    Example::

        compare_fields("results/one_0/ddf.nii.gz", "data/test/truth/one_0.nii.gz")

    :param found: the transform that a registration wrote, `ddf.nii.gz`, `transform.h5`
        or any other that `load_transform` reads; None for no displacement at all, the
        error before registration.
    :param truth: the true field on the fixed image's grid, as `write_known_truth`
        writes it.
    :param label: the fixed image's labels, NIfTI: only where they show a structure do
        voxels count. None counts all.
    :return: `mean_vox`, `median_vox` and `p95_vox`, the 95th percentile, and the same
        with `_mm`, by the voxel sides in the file of the truth. Of pairs made from
        files that state none, such as PNG, those are pixels.
    :raises GeometryError: when a file holds no such field, or their grids differ.
    """
    pair = read_pair(found, truth)
    mask = None if label is None else read_foreground(label, pair.ddf.shape[:3])
    return {
        f"{name}_{unit}": value
        for unit, spacing in (("vox", None), ("mm", pair.spacing_mm))
        for name, value in endpoint_statistics(
            pair.ddf, pair.truth, mask, spacing
        ).items()
    }


def read_pair(found: str | Path | None, truth: str | Path) -> FieldPair:
    """
    Read a transform and the true field, both as displacements in voxels.

    :param found: as in `compare_fields`.
    :param truth: as in `compare_fields`.
    :raises GeometryError: as in `compare_fields`.
    """
    parts = load_transform(truth).parts
    if len(parts) != 1 or not isinstance(parts[0], Field):
        raise GeometryError(
            f"{truth}: expected one displacement field, the truth, got "
            f"{' and then '.join(type(part).__name__.lower() for part in parts)}."
        )
    grid = parts[0].grid
    vectors: NDArray = np.zeros((*grid.shape, 3))
    if found is not None:
        transform = load_transform(found, fixed_grid=grid, moving_grid=grid)
        for part in transform.parts[:1]:
            if isinstance(part, Field) and not part.grid.is_same(grid):
                raise GeometryError(
                    f"{found}: expected a field on the grid of the truth in {truth}, "
                    f"shape {grid.shape}, got another one, shape {part.grid.shape}. "
                    "Are they of one case?"
                )
        vectors = transform.as_field(grid).vectors
    to_voxels = np.linalg.inv(grid.affine[:3, :3]).T
    return FieldPair(vectors @ to_voxels, parts[0].vectors @ to_voxels, grid.spacing_mm)


def read_foreground(label: str | Path, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """
    Read where a file of labels shows a structure.

    :param label: NIfTI, (d1, d2, d3), or with channels (d1, d2, d3, L).
    :param shape: of the grid that it has to lie on.
    :return: (d1, d2, d3).
    :raises GeometryError: for labels on another grid.
    """
    voxels = read_volume(label).voxels
    if voxels.shape[:3] != shape:
        raise GeometryError(
            f"{label}: expected labels on the grid of the truth, {shape}, got "
            f"{voxels.shape}."
        )
    return voxels.reshape(*shape, -1).max(axis=-1) > 0
