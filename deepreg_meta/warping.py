"""Apply transforms from files to images, labels and points in files."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.inverse import invert
from deepreg_meta.geometry.itk_image import is_itk_image
from deepreg_meta.geometry.landmarks import (
    POINT_SUFFIXES,
    Landmarks,
    read_landmarks,
    save_landmarks,
)
from deepreg_meta.geometry.overlap import check_overlap
from deepreg_meta.geometry.picture_file import is_picture, save_picture
from deepreg_meta.geometry.resample import Interpolation, resample
from deepreg_meta.geometry.soft_label import resample_soft
from deepreg_meta.geometry.transform import Field, Transform
from deepreg_meta.geometry.transform_file import save_transform
from deepreg_meta.geometry.volume_file import (
    VolumeFile,
    read_volume,
    save_volume,
    say_of_forms,
)
from deepreg_meta.geometry.whole_file import suffix_of
from deepreg_meta.warp_input import Side, Space, whole_transform

logger = logging.getLogger(__name__)

Sampling = Literal["linear", "nearest", "soft"]
_SAME_PLACE = 1e-3  # of a pixel


def warp(
    image_path: str,
    out_path: str = "",
    ddf_path: str | None = None,
    transform_paths: Sequence[str] = (),
    initial: str | None = None,
    reference_path: str | None = None,
    source_path: str | None = None,
    to: Side = "fixed",
    interpolation: Interpolation | None = None,
    label: bool = False,
    soft_label: bool = False,
    outside: float = 0.0,
    save_transform_path: str | None = None,
) -> Path:
    """
    Apply a transform to an image, a label or points.

    :param image_path: image or label, or points (.mrk.json, .fcsv, .csv).
    :param out_path: the result, for images of one slice a PNG too; "" is warped.nii.gz,
        or warped.mrk.json for points.
    :param ddf_path: displacement field in DeepReg's layout.
    :param transform_paths: fixed to moving space; the first one is applied to fixed
        points first.
    :param initial: affine transform that is applied to fixed points last, or `mass`.
    :param reference_path: image of the space that things are brought to; its grid is
        that of the result. None takes the grid of the first field.
    :param source_path: for points, image of the space they come from.
    :param to: the side that things are brought to.
    :param interpolation: linear or nearest; None is linear, for a label nearest.
    :param label: the image is a label: nearest voxel.
    :param soft_label: the image is a label whose values are interpolated linearly.
    :param outside: value outside the image.
    :param save_transform_path: file for the whole transform, in the direction that
        resamples images.
    :return: path of the result.
    :raises ValueError: for files or options that do not fit, and for a PNG of values
        that it cannot hold: whole numbers from 0 to 65535.
    :raises FileNotFoundError: for a missing file.
    """
    has_points = suffix_of(image_path) in POINT_SUFFIXES
    sampling = _sampling(interpolation, label, soft_label)
    out = _out_path(out_path, has_points)
    used = (image_path, ddf_path, *transform_paths, initial, reference_path)
    _check_not_used([out, save_transform_path], [*used, source_path])
    if save_transform_path and Path(save_transform_path) == Path(out):
        raise ValueError(
            f"--save-transform: expected another file than --out, got {out}."
        )
    source = source_path if has_points else image_path
    space = Space(_read(source), _read(reference_path), to)
    transform = whole_transform(space, ddf_path, transform_paths, initial)
    target = space.target_grid(transform)
    is_slice = target is not None and target.shape[2] == 1
    if is_picture(out) and is_slice and space.source is not None:
        _check_values(out, space.source)  # before anything is written
    # images are sampled from the target to the source
    pull = transform
    if to == "moving" and (save_transform_path or not has_points):
        pull = _inverse(transform, _unit(space))
    if save_transform_path:
        save_transform(save_transform_path, pull, target, _is_planar(space))
        logger.info("The transform is in %s", save_transform_path)
    if has_points:
        landmarks = read_landmarks(image_path, space.source_grid)
        push = transform if to == "moving" else _inverse(transform, _unit(space))
        save_landmarks(out, warp_points(landmarks, push))
    elif space.source is not None:
        target = space.checked_grid(target)
        warped = warp_volume(space.source, target, pull, sampling, outside)
        if is_picture(out):
            if target.shape[2] == 1:  # more slices are refused where they are written
                _warn_of_picture(out, target)
            sides = target.spacing_mm[:2]
            save_picture(out, warped, _picture_type(space.source), sides)
        else:
            is_planar = _is_planar(space) and target.is_planar
            step = space.source.time_step
            save_volume(out, warped, target.affine, is_planar, step)
    return out


def _is_planar(space: Space) -> bool:
    """Tell whether the images that are named are of two axes for other programs too."""
    named = [image for image in (space.source, space.reference) if image is not None]
    return bool(named) and all(
        image.layout != "volume" and image.grid.is_planar for image in named
    )


def _picture_type(source: VolumeFile) -> np.dtype | None:
    """Return the type of a picture made of an image: its own, if pictures have it."""
    dtype = source.voxels.dtype
    return dtype if dtype in (np.uint8, np.uint16) else None


def _check_values(out: Path, source: VolumeFile) -> None:
    """Refuse a picture of values that pictures do not have."""
    voxels, largest = source.voxels, np.iinfo(np.uint16).max
    wrong = ~((voxels >= 0) & (voxels <= largest))  # NaN too
    if voxels.dtype.kind == "f":
        wrong |= voxels != np.rint(voxels)
    if wrong.any():
        raise ValueError(
            f"{out}: expected an image of whole numbers from 0 to {largest} for a PNG, "
            f"got {voxels[wrong][0]:g} in {source.path}. Write it to .nii.gz."
        )


def _warn_of_picture(out: Path, target: Grid) -> None:
    """Say that a picture loses its place, where it is not that of all pictures."""
    place = target.affine[:3, [0, 1, 3]].copy()
    place[2, 2] = 0  # along z a picture may lie anywhere
    expected = np.zeros((3, 3))
    expected[[0, 1], [0, 1]] = -target.spacing_mm[:2]
    if np.abs(place - expected).max() > _SAME_PLACE * target.spacing_mm[:2].min():
        logger.warning(
            "%s: a PNG states no place in space: other programs lay its first pixel at "
            "the origin and its axes to L and P, where the grid wanted does not lie. "
            "Write .nii.gz to keep the place.",
            out,
        )


def warp_volume(
    source: VolumeFile,
    target: Grid,
    transform: Transform,
    sampling: Sampling = "linear",
    outside: float = 0.0,
) -> NDArray:
    """
    Bring an image or a label to a grid, channel by channel.

    :param source: (d1, d2, d3) or (d1, d2, d3, channels).
    :param target: the grid wanted.
    :param transform: from the space of `target` to that of `source`.
    :param sampling: linear, nearest, or soft for labels, see `resample_soft`.
    :param outside: value outside the source.
    :return: (t1, t2, t3) or (t1, t2, t3, channels).
    :raises ValueError: for voxels that are no numbers, further axes, or a value
        outside that the type of a label cannot hold.
    :raises GeometryError: when source and target do not overlap.
    """
    voxels = source.voxels
    if voxels.ndim > 4 or voxels.dtype.kind not in "biuf":
        raise ValueError(
            f"{source.path}: expected a volume (d1, d2, d3) or (d1, d2, d3, channels) "
            f"of numbers, got shape {voxels.shape}, type {voxels.dtype}."
        )
    if sampling != "linear" and not _can_hold(voxels.dtype, outside):
        raise ValueError(
            f"--outside: expected a value that {voxels.dtype} can hold, as the voxels "
            f"of {source.path} are, got {outside}."
        )
    check_overlap(source.grid, target, transform, (source.path, "the grid wanted"))
    grids = source.grid, target
    channels = voxels[None] if voxels.ndim == 3 else np.moveaxis(voxels, -1, 0)
    if sampling == "soft":
        try:
            soft = [resample_soft(c, *grids, transform, outside) for c in channels]
        except ValueError as err:
            raise ValueError(f"{source.path}: {err}") from err
        warped = np.stack(soft)
    else:
        warped = resample(channels, *grids, transform, sampling, outside)
    return warped[0] if voxels.ndim == 3 else np.moveaxis(warped, 0, -1)


def warp_points(landmarks: Landmarks, transform: Transform) -> Landmarks:
    """
    Map landmarks, and say which of them lie beyond a displacement field.

    :param landmarks: the points.
    :param transform: from their space to the one wanted.
    """
    points, is_beyond = landmarks.points, np.zeros(len(landmarks), bool)
    for part in transform.parts:
        if isinstance(part, Field):
            is_beyond |= ~part.grid.contains(points)
        points = part.map_points(points)
    if is_beyond.any():
        names = [landmarks.names[index] for index in np.flatnonzero(is_beyond)]
        logger.warning(
            "%d points lie beyond the displacement field, where it is not known: %s",
            len(names),
            ", ".join(names),
        )
    return Landmarks(landmarks.names, points)


def _can_hold(dtype: np.dtype, value: float) -> bool:
    if dtype.kind == "f":
        return True
    limits = np.iinfo(dtype) if dtype.kind in "iu" else np.iinfo(np.uint8)
    return float(value).is_integer() and limits.min <= value <= limits.max


def _unit(space: Space) -> str:
    """Return what lengths are counted in: pixels where a picture states no mm."""
    named = [image for image in (space.source, space.reference) if image is not None]
    is_unstated = any(
        image.layout == "picture" and (image.grid.spacing_mm[:2] == 1).all()
        for image in named
    )
    return "pixels" if is_unstated else "mm"


def _inverse(transform: Transform, unit: str) -> Transform:
    """Invert, and tell how well, with lengths in a unit."""
    inverse, residual = invert(transform)
    fields = [part for part in inverse.parts if isinstance(part, Field)]
    if fields:
        text = str(residual).replace(" mm", f" {unit}")
        logger.info("Inverse of the transform: residual %s.", text)
        if residual.max_mm > fields[0].grid.spacing_mm.min():
            logger.warning(
                "The inverse is wrong by more than a voxel somewhere: the displacement "
                "field folds, or jumps, and has no inverse there."
            )
    return inverse


def _sampling(
    interpolation: Interpolation | None, label: bool, soft_label: bool
) -> Sampling:
    wanted = "nearest" if label else "soft" if soft_label else interpolation or "linear"
    if interpolation not in (None, "linear" if soft_label else wanted):
        raise ValueError(
            f"--interpolation {interpolation}: a label is sampled by the nearest voxel "
            "(--label) or linearly, value by value (--soft-label)."
        )
    if label and soft_label:
        raise ValueError("--label, --soft-label: expected one of them, got both.")
    return wanted


def _out_path(out_path: str, has_points: bool) -> Path:
    """Name the result as DeepReg does."""
    if has_points:
        out = Path(out_path or "warped.mrk.json")
        if suffix_of(out) not in (".mrk.json", ".csv"):
            raise ValueError(
                f"--out: points are written to .mrk.json or .csv, got {out}."
            )
        return out.expanduser()
    out = Path(out_path or "warped.nii.gz")
    if not out_path:
        logger.warning("--out is not given, so the result goes to %s.", out)
    elif is_itk_image(out):
        raise ValueError(f"--out: images are written to .nii.gz or .nii, got {out}.")
    elif suffix_of(out) not in (".nii.gz", ".nii", ".png"):
        out = out.parent / "warped.nii.gz"
        logger.warning("--out does not end in .nii, .nii.gz or .png, taken as %s.", out)
    return out.expanduser()


def _check_not_used(
    written: Sequence[str | Path | None], read: Sequence[str | None]
) -> None:
    """Check that no result would replace a file that it is made of."""
    sources = {Path(path).expanduser().resolve() for path in read if path}
    for path in written:
        if path and Path(path).expanduser().resolve() in sources:
            raise ValueError(f"{path}: the result would replace a file it is made of.")


def _read(path: str | None) -> VolumeFile | None:
    if not path:
        return None
    volume = read_volume(path)
    if volume.forms_apart:
        logger.warning("%s", say_of_forms(volume.path, volume.forms_apart))
    return volume
