"""Read a sequence from one file, from a folder of frames, or from a list of files."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepreg_meta.dataset.stored import Place, read_place
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.picture_file import Layout
from deepreg_meta.geometry.volume_file import VolumeFile, load_image, read_volume
from deepreg_meta.geometry.whole_file import suffix_of
from deepreg_meta.sequence.frames import FrameSequence

Axes = Literal["xyt"]
_SUFFIXES = (".png", ".nii", ".nii.gz")
# of NIfTI, in seconds; others (hz, ppm, rads) count no time
_TIME_UNITS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}


class Stack(NamedTuple):
    """
    Images of one grid, as files hold them.

    :param images: (T, d1, d2, d3).
    :param grid: of each.
    :param paths: T files, or the one of all.
    :param place: what the first file says of its place.
    :param layout: of the files.
    :param time_step_s: of the header, or None.
    """

    images: NDArray
    grid: Grid
    paths: tuple[Path, ...]
    place: Place
    layout: Layout
    time_step_s: float | None


def read_sequence(
    paths: str | Path | Sequence[str | Path],
    axes: Axes | None = None,
    frame_rate: float | None = None,
    flag: str = "--sequence",
) -> FrameSequence:
    """
    Read a sequence.

    One NIfTI file has time as its last axis: (X, Y, Z, T), for images of two axes
    (X, Y, 1, T), or with `axes` (X, Y, T). A folder holds PNG or NIfTI files of a frame
    each, taken in natural order (`f2` before `f10`); a list is taken as it is given.

    :param paths: a file, a folder, or files.
    :param axes: xyt says that the third axis of a file is time; a file (X, Y, N) may be
        a volume, and is refused without.
    :param frame_rate: frames in a second; None takes what a NIfTI header says in a unit
        of time.
    :param flag: that names the files, for messages.
    :return: at least two frames.
    :raises FileNotFoundError: when something is not there.
    :raises ValueError: for files that are no sequence.
    """
    if frame_rate is not None and not 0 < frame_rate < float("inf"):
        raise ValueError(f"--frame-rate: expected a number > 0, got {frame_rate}.")
    stack = read_stack(paths, axes, flag)
    if len(stack.images) < 2:
        raise ValueError(
            f"{flag}: expected at least two frames, got one, {stack.paths[0]}."
        )
    _check_voxels(stack)
    step = stack.time_step_s if frame_rate is None else 1.0 / frame_rate
    place = stack.place
    return FrameSequence(
        images=stack.images,
        grid=stack.grid,
        paths=stack.paths,
        layout=stack.layout,
        time_step_s=step,
        has_spacing=place.has_affine,
        has_orientation=place.has_orientation,
    )


def read_stack(
    paths: str | Path | Sequence[str | Path],
    axes: Axes | None = None,
    flag: str = "--sequence",
    allows_one: bool = False,
) -> Stack:
    """
    Read images of one grid, one or several: parameters as for `read_sequence`.

    :param allows_one: a file of three axes is one volume.
    :raises FileNotFoundError: when something is not there.
    :raises ValueError: for files that do not belong together.
    """
    given = [paths] if isinstance(paths, (str, Path)) else list(paths)
    files = [Path(path).expanduser() for path in given]
    if not files:
        raise ValueError(f"{flag}: expected a file or a folder, got none.")
    missing = [str(path) for path in files if not path.exists()]
    if missing:
        raise FileNotFoundError(
            f"{flag}: expected a file or a folder, found none: {', '.join(missing)}."
        )
    if files[0].is_dir():
        if len(files) > 1:
            raise ValueError(
                f"{flag}: expected one folder or files, got {len(files)} paths, a "
                f"folder ({files[0]}) among them."
            )
        files = list_frames(files[0], flag)
    if len(files) == 1:
        return _read_one(files[0], axes, flag, allows_one)
    if axes is not None:
        raise ValueError(
            f"--axes {axes}: expected one file with an axis of time, got "
            f"{len(files)} files of a frame each."
        )
    return _read_several(files, flag)


def list_frames(folder: Path, flag: str) -> list[Path]:
    """
    List the frames of a folder in natural order.

    :param folder: its files of one kind are the frames; hidden ones, and those that are
        neither PNG nor NIfTI, are left out.
    :param flag: that names it, for messages.
    :raises ValueError: for none, or for PNG and NIfTI files in one folder.
    """
    found = [
        path
        for path in folder.iterdir()
        if suffix_of(path) in _SUFFIXES and not path.name.startswith(".")
    ]
    kinds = {suffix_of(path) == ".png" for path in found}
    if len(kinds) != 1:
        raise ValueError(
            f"{flag}: {folder}: expected frames as {', '.join(_SUFFIXES)}, got "
            f"{'PNG and NIfTI files' if kinds else 'none'}."
        )
    return sorted(found, key=_natural)


def _natural(path: Path) -> tuple:
    """Return a key that has 2 before 10."""
    parts = re.split(r"(\d+)", path.name.lower())
    # digits stand at the odd places, so numbers meet numbers; the name breaks ties
    return tuple(int(p) if i % 2 else p for i, p in enumerate(parts)), path.name


def _read_one(path: Path, axes: Axes | None, flag: str, allows_one: bool) -> Stack:
    """Read a file with an axis of time; of a single image, a stack of one."""
    volume, place = read_volume(path), read_place(str(path))
    voxels = volume.voxels
    if axes == "xyt":
        if voxels.ndim != 3 or voxels.shape[2] < 2:
            raise ValueError(
                f"--axes xyt: expected a file of shape (X, Y, T), got {voxels.shape}, "
                f"{path}."
            )
        d1, d2 = voxels.shape[:2]
        grid = Grid((d1, d2, 1), _planar_affine(volume.grid.affine))
        images = np.moveaxis(voxels, 2, 0)[..., None]
        return Stack(images, grid, (path,), place, "plane", None)
    while voxels.ndim > 4 and voxels.shape[-1] == 1:
        voxels = voxels[..., 0]
    if voxels.ndim == 5:
        raise ValueError(
            f"{flag}: {path}: expected one channel and time as the last axis, (X, Y, "
            f"Z, T), got shape {voxels.shape}."
        )
    if voxels.ndim == 3 and voxels.shape[2] > 1 and not allows_one:
        raise ValueError(
            f"{flag}: {path}: expected time as the fourth axis, (X, Y, Z, T) or (X, Y, "
            f"1, T), got shape {voxels.shape}. If its third axis is time, say so: "
            "--axes xyt."
        )
    images = voxels[None] if voxels.ndim == 3 else np.moveaxis(voxels, 3, 0)
    step = header_time_step(path) if voxels.ndim == 4 else None
    return Stack(images, volume.grid, (path,), place, volume.layout, step)


def _planar_affine(affine: NDArray) -> NDArray[np.float64]:
    """Give the third axis, which is time, a side of 1 across the plane."""
    result = affine.copy()
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    result[:3, 2] = normal / np.linalg.norm(normal)
    if result[2, 2] < 0 and not result[:2, 2].any():
        result[2, 2] = 1.0  # of a plane of ITK's, as of a file of two axes
    return result


def _read_several(files: Sequence[Path], flag: str) -> Stack:
    """Read files of a frame each."""
    volumes = [_read_frame(path, flag) for path in files]
    first = volumes[0]
    for path, volume in zip(files[1:], volumes[1:], strict=True):
        if volume.layout != first.layout or not volume.grid.is_same(first.grid):
            raise ValueError(
                f"{flag}: {path}: expected the grid of the first frame, {files[0]} "
                f"({_text(first)}), got {_text(volume)}."
            )
    kinds = {volume.voxels.dtype for volume in volumes}
    dtype = kinds.pop() if len(kinds) == 1 else np.dtype(np.float32)
    images = np.stack([volume.voxels.astype(dtype) for volume in volumes])
    place = read_place(str(files[0]))
    return Stack(images, first.grid, tuple(files), place, first.layout, None)


def _read_frame(path: Path, flag: str) -> VolumeFile:
    volume = read_volume(path)
    voxels = volume.voxels
    while voxels.ndim > 3 and voxels.shape[-1] == 1:
        voxels = voxels[..., 0]
    if voxels.ndim != 3:
        raise ValueError(
            f"{flag}: {path}: expected one frame of one channel, got shape "
            f"{voxels.shape}. Of a file with an axis of time, name the file alone."
        )
    return VolumeFile(volume.path, voxels, volume.grid, volume.layout)


def _text(volume: VolumeFile) -> str:
    """Describe a grid in a message."""
    corner = np.round(volume.grid.affine[:3, 3], 3).tolist()
    sides = np.round(volume.grid.spacing_mm, 4).tolist()
    return f"{volume.grid.shape}, voxel sides {sides}, first voxel at {corner}"


def header_time_step(path: str | Path) -> float | None:
    """
    Read the time step of a NIfTI file.

    :param path: of the file.
    :return: seconds; None where the header states none, or in no unit of time: nibabel
        and others write 1 without a unit where nothing is known.
    """
    image = load_image(path)
    header = image.header
    if not hasattr(header, "get_xyzt_units") or len(image.shape) < 4:
        return None
    try:
        unit = header.get_xyzt_units()[1]
    except KeyError:  # NIfTI has no unit of that number
        return None
    step = float(header["pixdim"][4]) * _TIME_UNITS.get(unit, 0.0)
    return step if 0 < step < float("inf") else None


def _check_voxels(stack: Stack) -> None:
    """:raises ValueError: for voxels that are not finite, or frames of one value."""
    images = stack.images
    bad = [i for i, image in enumerate(images) if not np.isfinite(image).all()]
    if bad:
        raise ValueError(
            f"--sequence: {stack.paths[0]}: expected finite intensities, got NaN or "
            f"infinite ones in frame {bad[0]}."
        )
    flat = [i for i, image in enumerate(images) if image.min() == image.max()]
    if flat:
        raise ValueError(
            f"--sequence: {stack.paths[0]}: expected frames with contrast, got one "
            f"value alone, {images[flat[0]].flat[0]:g}, in frame {flat[0]}."
        )
