"""A pair of volumes to be registered."""

from collections.abc import Mapping
from dataclasses import dataclass

from numpy.typing import NDArray

from deepreg_meta.config import RunConfig
from deepreg_meta.dataset.place_check import check_overlap
from deepreg_meta.dataset.source import Source
from deepreg_meta.dataset.volume import Volume
from deepreg_meta.geometry.grid import Grid


@dataclass(frozen=True, eq=False)
class Case:
    """
    A pair of volumes to be registered, on the network's grids.

    :param name: file stem; of unpaired volumes both stems.
    :param indices: (pair,) or (moving, fixed), as DeepReg counts.
    :param moving_image: (m_dim1, m_dim2, m_dim3) float32; in [0, 1] unless the last of
        `dataset.intensity` is z_score.
    :param fixed_image: (f_dim1, f_dim2, f_dim3) float32, likewise.
    :param moving_labels: (L, m_dim1, m_dim2, m_dim3) float32 in [0, 1], or None.
    :param fixed_labels: (L, f_dim1, f_dim2, f_dim3) float32 in [0, 1], or None.
    :param label_names: L names.
    :param moving_affine: (4, 4), voxel indices of the moving grid to the file's world.
    :param fixed_affine: (4, 4), the same for the fixed grid.
    :param moving_spacing_mm: (3,), voxel sides of the moving grid.
    :param fixed_spacing_mm: (3,), voxel sides of the fixed grid.
    :param spacing_is_nominal: whether lengths are not known in mm, because
        `dataset.spacing_mm` overrides those of the files, or the files state none (PNG,
        HDF5) and the configuration gives none.
    :param moving_source: the files of the moving volume, with their grid.
    :param fixed_source: the files of the fixed volume, with their grid.
    :param moving_mask: (m_dim1, m_dim2, m_dim3) float32, 1 where the moving image
        counts, 0 elsewhere; None where all of it does.
    :param fixed_mask: (f_dim1, f_dim2, f_dim3) float32, likewise.
    :param fixed_inside: (3, 2), see `Volume.inside`; unlike masks, in training too.
    """

    name: str
    indices: tuple[int, ...]
    moving_image: NDArray
    fixed_image: NDArray
    moving_labels: NDArray | None
    fixed_labels: NDArray | None
    label_names: tuple[str, ...]
    moving_affine: NDArray
    fixed_affine: NDArray
    moving_spacing_mm: NDArray
    fixed_spacing_mm: NDArray
    spacing_is_nominal: bool
    moving_source: Source
    fixed_source: Source
    moving_mask: NDArray | None = None
    fixed_mask: NDArray | None = None
    fixed_inside: NDArray | None = None

    @property
    def labels(self) -> tuple[NDArray, NDArray]:
        """Moving and fixed labels of a case that has them."""
        if self.moving_labels is None or self.fixed_labels is None:
            raise RuntimeError(f"The case {self.name} has no labels.")
        return self.moving_labels, self.fixed_labels

    @property
    def display(self) -> str | None:
        """How figures show the fixed image, see `Source.display`."""
        shown = self.fixed_source.display
        return None if self.spacing_is_nominal and shown != "picture" else shown

    @property
    def moving_grid(self) -> Grid:
        """The network's grid of the moving image, in the world of its file."""
        shape = self.moving_image.shape
        return Grid((shape[0], shape[1], shape[2]), self.moving_affine)

    @property
    def fixed_grid(self) -> Grid:
        """The network's grid of the fixed image, in the world of its file."""
        shape = self.fixed_image.shape
        return Grid((shape[0], shape[1], shape[2]), self.fixed_affine)


def make_case(
    name: str,
    indices: tuple[int, ...],
    moving: Volume,
    fixed: Volume,
    masks: Mapping[str, NDArray] | None = None,
) -> Case:
    """
    Join two volumes.

    :param name: of the case.
    :param indices: (pair,) or (moving, fixed).
    :param moving: the moving volume.
    :param fixed: the fixed volume, found to fit by `check_pair`.
    :param masks: on the network's grids, by role; a role without one is left out.
    :return: the case.
    """
    masks = masks or {}
    return Case(
        name=name,
        indices=indices,
        moving_image=moving.image,
        fixed_image=fixed.image,
        moving_labels=moving.labels,
        fixed_labels=fixed.labels,
        label_names=fixed.label_names,
        moving_affine=moving.affine,
        fixed_affine=fixed.affine,
        moving_spacing_mm=moving.spacing_mm,
        fixed_spacing_mm=fixed.spacing_mm,
        spacing_is_nominal=moving.spacing_is_nominal or fixed.spacing_is_nominal,
        moving_source=moving.source,
        fixed_source=fixed.source,
        moving_mask=masks.get("moving"),
        fixed_mask=masks.get("fixed"),
        fixed_inside=fixed.inside,
    )


def check_pair(config: RunConfig, moving: Volume, fixed: Volume) -> list[str]:
    """
    Check two volumes, each of them good, against each other.

    :param config: tells which label channels are needed, and whether both must share
        some space.
    :param moving: the moving volume.
    :param fixed: the fixed volume.
    :return: one line per problem.
    """
    problems = []
    if config.align.mode == "affine":
        problems += check_overlap(moving.source, fixed.source)
    first, second = moving.labels, fixed.labels
    if first is None or second is None:
        return problems
    path = ", ".join(moving.source.label_paths)
    if len(first) != len(second):
        other = ", ".join(fixed.source.label_paths)
        line = f"{path}: expected as many label channels as {other} ({len(second)})"
        return [*problems, f"{line}, got {len(first)}."]
    needed = {f"adapt.labels {channel}": channel for channel in config.adapt.labels}
    if config.align.mode in ("centroid", "sections"):
        needed["align.label"] = config.align.label
    return problems + [
        f"{path}: expected a channel for {key}, got {len(first)} label channels."
        for key, channel in needed.items()
        if channel >= len(first)
    ]
