"""One pair of volumes from its own files, prepared as the cases of a data set are."""

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from deepreg_meta.config import RunConfig
from deepreg_meta.dataset.case import Case, check_pair, make_case
from deepreg_meta.dataset.files import PairFiles, read_files
from deepreg_meta.dataset.intensity import Intensity
from deepreg_meta.dataset.place_check import check_place, check_same_place
from deepreg_meta.dataset.route import plan_route
from deepreg_meta.dataset.source import RawLabel, RawVolume, Voxels, split_labels
from deepreg_meta.dataset.target import Target, build_targets
from deepreg_meta.dataset.volume import Volume, prepare
from deepreg_meta.dataset.volume_check import DataError
from deepreg_meta.geometry.affine import spacing_of

logger = logging.getLogger(__name__)
_SAME_SIDE = 1.02  # voxel sides that differ by less are alike
_FACTOR = 1.5  # between voxel sides, above which the user is warned


def read_pair(
    config: RunConfig,
    fixed: PairFiles,
    moving: PairFiles,
    name: str = "pair",
    expected: Mapping[str, Any] | None = None,
) -> Case:
    """
    Read, check and prepare one pair.

    :param config: of a run; its `dataset` says how volumes are prepared.
    :param fixed: files of the fixed side.
    :param moving: files of the moving side.
    :param name: of the case.
    :param expected: what `describe_cases` told of the run's training data. Where that
        had one orientation, and `dataset.grid.orientation` is null, the pair is turned
        to it; voxels of a very different size are warned of.
    :return: the case, with masks on the network's grids where files are given.
    :raises DataError: with all problems of all files together.
    """
    targets, expected = build_targets(config), expected or {}
    problems = _find_missing(fixed, moving)
    sides: dict[str, Side] = {}
    for role, files in (("fixed", fixed), ("moving", moving)):
        try:
            partner = sides.get("fixed")
            sides[role] = read_side(
                files, targets[role], expected.get(role, {}), partner
            )
        except DataError as err:
            problems += err.problems
    if len(sides) == 2:
        first, second = sides["moving"].volume, sides["fixed"].volume
        problems += _check_labels(config, first, second)
        problems += check_pair(config, first, second)
    if problems:
        raise DataError(f"The pair {name} cannot be used:", problems)
    masks = {role: side.mask for role, side in sides.items() if side.mask is not None}
    return make_case(name, (0,), first, second, masks)


class Side(NamedTuple):
    """One side of a pair."""

    volume: Volume
    mask: NDArray | None
    raw: RawVolume
    intensity: Intensity


def _find_missing(*sides: PairFiles) -> list[str]:
    """Name the files of landmarks that are not there; the others are read."""
    paths = [Path(s.landmarks).expanduser() for s in sides if s.landmarks is not None]
    return [
        f"{path}: expected a file, found none." for path in paths if not path.is_file()
    ]


def read_side(
    files: PairFiles, target: Target, expected: Mapping[str, Any], fixed: Side | None
) -> Side:
    """
    Read, check and prepare one side of a pair.

    :param files: of the side.
    :param target: what the run brings such volumes to.
    :param expected: of this side, as of `read_pair`.
    :param fixed: the fixed side, which a moving image may be matched to.
    :raises DataError: with all problems of the files.
    """
    raw, mask = read_files(files)
    if target.intensity.needs_pair:
        if fixed is None:  # its problems are known; look for those of this side
            target = dataclasses.replace(target, intensity=Intensity())
        else:
            image = fixed.intensity.transform(fixed.raw.image)
            raw = dataclasses.replace(raw, fixed=image)
    target = own_target(target, raw, expected)

    def read_voxels() -> Voxels:
        again, _ = read_files(files)
        return again.image, split_labels(again.labels, target.label_indices)[0]

    problems: list[str] = []
    try:
        volume = prepare(raw, target, read_voxels)
    except DataError as err:
        problems += err.problems
    prepared = None
    if mask is not None and raw.image.ndim == 3 and not check_place(raw.place, ""):
        problems += _check_mask(mask, raw)
        if not problems:
            prepared = _prepare_mask(mask, raw, target)
    if problems:
        raise DataError("Files that cannot be used:", problems)
    _warn_of_size(volume, expected)
    return Side(volume, prepared, raw, target.intensity)


def own_target(target: Target, raw: RawVolume, expected: Mapping[str, Any]) -> Target:
    """
    Return what a volume that is none of the data set is brought to.

    :param target: what those of the data set are brought to.
    :param raw: the volume.
    :param expected: as of `read_side`.
    """
    return _spaced_target(_turned_target(target, raw, expected), raw, expected)


def _turned_target(
    target: Target, raw: RawVolume, expected: Mapping[str, Any]
) -> Target:
    """Have the axes point where those of the training data did, if all agreed."""
    codes = expected.get("orientations", ())
    if target.orientation is not None or len(codes) != 1 or codes[0] is None:
        return target
    if check_place(raw.place, raw.path):
        return target  # which is reported
    if not raw.place.has_orientation:
        logger.warning(
            "%s states no orientation: its axes are taken to be those of the training "
            "data, %s.",
            raw.path,
            codes[0],
        )
        return target
    found = "".join(nib.orientations.aff2axcodes(raw.place.affine))
    if found == codes[0]:
        return target
    logger.info(
        "%s: axes turned from %s to %s, as in the training data.",
        raw.path,
        found,
        codes[0],
    )
    return dataclasses.replace(target, orientation=codes[0])


def _spaced_target(
    target: Target, raw: RawVolume, expected: Mapping[str, Any]
) -> Target:
    """
    Let a nominal spacing follow voxels of another size than the training files had.

    `dataset.spacing_mm` says what the sides that those files state stand for; of a file
    with sides twice as long it has to be twice that.
    """
    if target.spacing_mm is None or check_place(raw.place, raw.path):
        return target
    stated = spacing_of(raw.place.affine)
    used = np.array(raw.image.shape) > 1  # a slice may be of any thickness
    if "file_spacing_mm" not in expected:  # a run of an older version
        if stated[used].max() > _SAME_SIDE * stated[used].min():
            logger.warning(
                "%s: dataset.spacing_mm of the run, %s, replaces voxel sides of %s mm, "
                "which are not alike. Resample the file unless that is meant.",
                raw.path,
                list(target.spacing_mm),
                np.round(stated, 3).tolist(),
            )
        return target
    trained = np.asarray(expected["file_spacing_mm"], float)[used]
    if trained.max() > _SAME_SIDE * trained.min():
        return target  # along which of its axes this file's differ cannot be told
    ratio = np.where(used, stated / trained.mean(), 1.0)
    if np.maximum(ratio, 1 / ratio).max() <= _SAME_SIDE:
        return target
    sides = np.asarray(target.spacing_mm) * ratio
    logger.warning(
        "%s: voxels of %s mm where the training files had %s mm: dataset.spacing_mm, "
        "%s there, is taken as %s here.",
        raw.path,
        np.round(stated, 3).tolist(),
        round(float(trained.mean()), 3),
        list(target.spacing_mm),
        np.round(sides, 3).tolist(),
    )
    return dataclasses.replace(
        target, spacing_mm=(float(sides[0]), float(sides[1]), float(sides[2]))
    )


def _warn_of_size(volume: Volume, expected: Mapping[str, Any]) -> None:
    """Warn of voxels much larger or smaller than those that the network has seen."""
    wanted = expected.get("grid_spacing_mm")
    if wanted is None or expected.get("orientations") == [None]:
        return  # HDF5 without affines: lengths mean nothing
    used = np.array(volume.image.shape) > 1
    ratio = (volume.spacing_mm / np.asarray(wanted))[used]
    if np.maximum(ratio, 1 / ratio).max(initial=1.0) > _FACTOR:
        logger.warning(
            "%s: voxels of %s mm on the network's grid, those of the training data "
            "had %s mm. The network may not know structures of this size; "
            "`dataset.grid.spacing_mm` in training gives every image one voxel size.",
            volume.source.path,
            np.round(volume.spacing_mm, 3).tolist(),
            np.round(wanted, 3).tolist(),
        )


def _check_labels(config: RunConfig, moving: Volume, fixed: Volume) -> list[str]:
    """Return what is wrong with which labels are given, and in which order."""
    counts = len(moving.label_names), len(fixed.label_names)
    if min(counts) == 0 < max(counts):
        side = moving if counts[0] else fixed
        return [
            f"{side.source.label_paths[0]}: expected labels of both images or of "
            f"neither, got {counts[0]} of the moving image and {counts[1]} of the "
            "fixed one."
        ]
    if not any(counts) and config.align.mode in ("centroid", "sections"):
        return [
            f"{moving.source.path}: expected a label beside it, by which `align: "
            f"{config.align.mode}` lays both images on each other, got none. Give "
            "labels of both images, or use `align: center`."
        ]
    names = moving.label_names, fixed.label_names
    if names[0] != names[1] and sorted(names[0]) == sorted(names[1]):
        return [
            f"{moving.source.label_paths[0]}: expected the labels in the order of the "
            f"fixed image's, {', '.join(names[1])}, got {', '.join(names[0])}."
        ]
    return []


def _check_mask(mask: RawLabel, raw: RawVolume) -> list[str]:
    """Return what is wrong with a mask."""
    shape = raw.shape
    if mask.voxels.shape != shape:
        return [
            f"{mask.path}: expected the grid of its image, {shape}, got "
            f"{mask.voxels.shape}."
        ]
    values = np.unique(mask.voxels)
    if len(values) > 2 or values[-1] <= 0 or (len(values) == 2 and values[0] != 0):
        shown = ", ".join(f"{value:g}" for value in values[:8])
        return [
            f"{mask.path}: expected a mask of 0 and one positive value, got {shown}"
            f"{', ...' if len(values) > 8 else ''}."
        ]
    return check_same_place(mask.place, raw.place, shape, mask.path, raw.path)


def _prepare_mask(mask: RawLabel, raw: RawVolume, target: Target) -> NDArray:
    """Bring a mask to the network's grid: linear, then 1 from a half on."""
    route = plan_route(raw.shape, raw.place.affine, target)
    inside = (mask.voxels > 0).astype(np.float32)
    result = (route.carry(inside[None])[0] >= 0.5).astype(np.float32)
    if not result.any():
        raise DataError(
            "Mask that cannot be used:",
            [
                f"{mask.path}: expected voxels in the mask, got none on the network's "
                f"grid {target.shape}."
            ],
        )
    result.setflags(write=False)
    return result
