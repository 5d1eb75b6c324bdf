"""
One volume: an image, its label and its place in space, checked, and brought to the form
that networks want.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepreg_meta.dataset.place_check import check_place, check_same_place
from deepreg_meta.dataset.route import check_route, plan_route
from deepreg_meta.dataset.source import RawVolume, Source, Voxels, split_labels
from deepreg_meta.dataset.target import Target
from deepreg_meta.dataset.volume_check import (
    DataError,
    check_channels,
    check_contrast,
    check_image,
    check_label,
    check_num_axes,
)
from deepreg_meta.geometry.affine import spacing_of
from deepreg_meta.geometry.grid import Grid

_HEADING = "Volume that cannot be used:"


class Facts(NamedTuple):
    """What is remembered of a volume when its arrays are gone."""

    source: Source
    spacing_mm: NDArray  # (3,), on the network's grid
    intensity_range: tuple[float, float]  # of the file


@dataclass(frozen=True, eq=False)
class Volume:
    """
    One volume on the network's grid.

    :param image: (d1, d2, d3) float32; in [0, 1] unless the last intensity step is
        z_score.
    :param labels: (L, d1, d2, d3) float32 in [0, 1], or None.
    :param label_names: L names.
    :param affine: (4, 4), voxel indices to the world of the file; an override of the
        spacing leaves it as it is, so that results lie over the file in every viewer.
    :param spacing_mm: (3,), lengths of the voxel's sides.
    :param spacing_is_nominal: whether the lengths are not known in mm: those of the
        file are overridden, or neither it nor the configuration gives any.
    :param source: the files.
    :param intensity_range: of the image's file.
    :param inside: (3, 2), first voxel and one past the last along each axis of those
        that losses look at, the others being padding; None: they look at all.
    """

    image: NDArray
    labels: NDArray | None
    label_names: tuple[str, ...]
    affine: NDArray
    spacing_mm: NDArray
    spacing_is_nominal: bool
    source: Source
    intensity_range: tuple[float, float]
    inside: NDArray | None = None

    @property
    def num_bytes(self) -> int:
        """Memory of the arrays."""
        return self.image.nbytes + (0 if self.labels is None else self.labels.nbytes)

    @property
    def facts(self) -> Facts:
        """The volume without its arrays."""
        return Facts(self.source, self.spacing_mm, self.intensity_range)


def prepare(
    raw: RawVolume, target: Target, read_voxels: Callable[[], Voxels]
) -> Volume:
    """
    Check what files hold and bring it to the network's grid.

    :param raw: what was read.
    :param target: what it is brought to.
    :param read_voxels: reads the files once more, for `Source`.
    :return: the volume; its arrays are read-only.
    :raises DataError: with all that is wrong with the files.
    """
    problems = _check_raw(raw, target)
    if problems:
        raise DataError(_HEADING, problems)
    place, shape = raw.place, raw.shape
    route = plan_route(shape, place.affine, target)
    image = target.intensity.transform(raw.image, raw.fixed)
    problems = check_contrast(image, raw.path, "after dataset.intensity")
    image = target.intensity.scale(image)
    outside = float(image.min())  # before smoothing: 0 where the range is [0, 1]
    image = route.carry(image[None], is_image=True, outside=outside)[0]
    labels, names = split_labels(raw.labels, target.label_indices)
    if labels is not None:
        labels = route.carry(labels)
        problems += check_channels(labels, names, ", ".join(raw.label_paths))
    if problems:
        raise DataError(_HEADING, problems)
    sides = np.asarray(target.spacing_mm or spacing_of(place.affine), float)
    spacing = spacing_of(np.diag([*sides, 1.0]) @ route.to_file)
    return Volume(
        image=_frozen(image),
        labels=None if labels is None else _frozen(labels),
        label_names=names,
        affine=place.affine @ route.to_file,
        spacing_mm=spacing,
        spacing_is_nominal=(target.spacing_mm is not None) == place.has_affine,
        source=Source(
            path=raw.path,
            grid=Grid(shape, place.affine),
            read_voxels=read_voxels,
            label_paths=raw.label_paths,
            has_orientation=place.has_orientation,
            layout=place.layout,
            forms_apart=place.forms_apart,
        ),
        intensity_range=(float(raw.image.min()), float(raw.image.max())),
        inside=route.inside if target.ignores_padding else None,
    )


def _frozen(array: NDArray) -> NDArray:
    """Make an array contiguous and read-only: it is shared through the cache."""
    array = np.ascontiguousarray(array)
    array.setflags(write=False)
    return array


def _check_raw(raw: RawVolume, target: Target) -> list[str]:
    """Return what is wrong with the files of a volume."""
    has_two_axes = raw.place.layout != "volume"
    wrong = check_num_axes(raw.image, raw.path, target.shape, has_two_axes)
    problems = check_image(raw.image, raw.path) + wrong
    # labels of another number of axes are no faults of theirs
    shape = () if wrong else raw.image.shape
    bad_place = check_place(raw.place, raw.path)
    if not problems and not bad_place:
        grid = Grid(raw.shape, raw.place.affine)
        problems += check_route(raw.path, grid, raw.place.has_orientation, target)
    for label in raw.labels:
        indices = target.label_indices if label.name is None else None
        values = label.values(target.label_indices)
        is_structure = label.name is not None
        wrong = check_label(values, shape, indices, label.path, is_structure)
        if label.name is not None and label.voxels.ndim != 3:
            wrong = [
                f"{label.path}: expected a 3-D label where several files are given, "
                f"got shape {label.voxels.shape}."
            ]
        problems += wrong
        if not wrong and not bad_place and len(shape) == 3:
            problems += check_same_place(
                label.place, raw.place, shape, label.path, raw.path
            )
    return problems + bad_place
