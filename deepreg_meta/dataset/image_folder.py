"""Single images of a folder, with their labels from another one: NIfTI or grey PNG."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepreg_meta.dataset.flat import label_shape
from deepreg_meta.dataset.resize import resize_linear, smooth
from deepreg_meta.geometry.grid import Grid, Shape
from deepreg_meta.geometry.picture_file import is_picture, mask_to_unit
from deepreg_meta.geometry.volume_file import read_volume
from deepreg_meta.geometry.whole_file import suffix_of

_SUFFIXES = (".nii.gz", ".nii", ".png")


class ImageFiles(NamedTuple):
    """The files of one image; the name is their stem."""

    name: str
    image: Path
    label: Path | None


@dataclass(frozen=True, eq=False)
class SingleImage:
    """
    One image with its labels.

    :param image: (d1, d2, d3), as stored, or float32 after a change of its shape.
    :param labels: (d1, d2, d3) or (d1, d2, d3, L), or None.
    :param grid: of the image.
    """

    image: NDArray
    labels: NDArray | None
    grid: Grid

    @property
    def is_soft(self) -> bool:
        """Whether labels have values between the whole numbers."""
        return self.labels is not None and _is_soft(self.labels)


def find_images(
    image_dir: str | Path,
    label_dir: str | Path | None = None,
    names: Sequence[str] | None = None,
) -> list[ImageFiles]:
    """
    List the images of a folder.

    :param image_dir: with .nii, .nii.gz or .png files.
    :param label_dir: with a file of the same stem for each image; None for no labels.
    :param names: stems of those wanted, in their order; None lists all, sorted.
    :return: at least one image.
    :raises ValueError: when a folder or a file is missing, or two have one stem.
    """
    images = _list_files(image_dir)
    chosen = list(images) if names is None else list(names)
    labels = {} if label_dir is None else _list_files(label_dir)
    for folder, found in ((image_dir, images), (label_dir, labels)):
        missing = [name for name in chosen if name not in found]
        if folder is not None and (missing or not chosen):
            raise ValueError(
                f"{folder}: expected a file ({', '.join(_SUFFIXES)}) for "
                f"{', '.join(missing[:5]) or 'at least one image'}, found none."
            )
    return [ImageFiles(name, images[name], labels.get(name)) for name in chosen]


def read_image(files: ImageFiles, shape: Shape | None = None) -> SingleImage:
    """
    Read an image and its labels.

    :param files: of the image.
    :param shape: to bring both to, their outer faces staying in place; None keeps it.
    :return: the image.
    :raises ValueError: when a file cannot be read, or the labels have another grid.
    """
    image, affine = _read(files.image)
    if image.ndim != 3:
        raise ValueError(
            f"{files.image}: expected one grey value per voxel, got {image.shape}."
        )
    labels = None
    if files.label is not None:
        labels = _read_labels(files.label)
        labels = labels.reshape(label_shape(labels.shape, image.shape))
    if labels is not None and labels.shape[:3] != image.shape:
        raise ValueError(
            f"{files.label}: expected the grid of its image, {image.shape}, got "
            f"{labels.shape}."
        )
    grid = Grid((image.shape[0], image.shape[1], image.shape[2]), affine)
    if shape is None or tuple(shape) == grid.shape:
        return SingleImage(image, labels, grid)
    if labels is not None:
        labels = _resize_labels(labels, shape)
    return SingleImage(_resize(image, shape), labels, grid.resized(shape))


def _list_files(folder: str | Path) -> dict[str, Path]:
    """Return the images of a folder by stem."""
    files: dict[str, Path] = {}
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise ValueError(f"{folder}: expected a folder of images, found none.")
    for path in sorted(folder.iterdir()):
        suffix = suffix_of(path)
        if suffix not in _SUFFIXES or path.name.startswith("."):
            continue
        stem = path.name[: -len(suffix)]
        if stem in files:
            raise ValueError(
                f"{path}: expected one file of this stem, got {files[stem].name} too."
            )
        files[stem] = path
    return files


def _read(path: Path) -> tuple[NDArray, NDArray]:
    """:return: voxels (d1, d2, d3) or (d1, d2, d3, L), and the affine."""
    volume = read_volume(path)
    voxels = volume.voxels
    while voxels.ndim > 3 and voxels.shape[-1] == 1:
        voxels = voxels[..., 0]
    return voxels, volume.grid.affine


def _read_labels(path: Path) -> NDArray:
    """:return: labels, those of 0 and 255 as pictures hold them as 0 and 1."""
    labels = _read(path)[0]
    return mask_to_unit(labels) if is_picture(path) else labels


def _is_soft(labels: NDArray) -> bool:
    return labels.dtype.kind == "f" and bool((labels != np.round(labels)).any())


def _resize(volume: NDArray, shape: Shape) -> NDArray[np.float32]:
    """Resize a volume (d1, d2, d3), without what larger voxels could not show."""
    ratio = np.divide(volume.shape, shape).tolist()
    return resize_linear(smooth(volume.astype(np.float32), ratio), shape)


def _resize_labels(labels: NDArray, shape: Shape) -> NDArray:
    """Resize soft labels as images; of others, take what fills most of a voxel."""
    if labels.ndim == 4:
        channels = [_resize_labels(x, shape) for x in np.moveaxis(labels, 3, 0)]
        return np.stack(channels, axis=-1)
    if _is_soft(labels):
        return _resize(labels, shape)
    values = np.unique(labels)
    shares = [_resize(labels == value, shape) for value in values]
    return values[np.argmax(shares, axis=0)]
