"""
PNG files: images of two axes, and index maps of them.

Voxels and their places are those of ITK: axis 0 runs along the columns, from left to
right, axis 1 down the rows, and the world has its axes there (LPS). A pixel has a side
of 1, unless the file has the chunk sCAL, in which ITK keeps the spacing of what it
writes. The resolution for printing (pHYs) counts for neither.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray
from PIL import Image

from deepreg_meta.geometry.whole_file import suffix_of, whole_file

SUFFIX = ".png"
# What a file holds: three axes; two, placed in space; two and no place (a picture).
Layout = Literal["volume", "plane", "picture"]
_CHUNKS = 8  # bytes before the first chunk
_AFTER_HEAD = 33  # where the second one begins
# one channel; Pillow names 16 bits in several ways
_MODES = ("1", "L", "P", "I", "I;16", "I;16B")
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


class PictureHeader(NamedTuple):
    """
    What a picture says of itself before its pixels.

    :param size: (columns, rows).
    :param dtype: of its voxels, uint8 or uint16.
    :param spacing: sides of a pixel, None where the file states none.
    """

    size: tuple[int, int]
    dtype: str
    spacing: tuple[float, float] | None

    @property
    def affine(self) -> NDArray[np.float64]:
        """Voxel indices to RAS, (4, 4), as ITK has them."""
        width, height = self.spacing or (1.0, 1.0)
        return np.diag([-width, -height, 1.0, 1.0])


def is_picture(path: str | Path) -> bool:
    """
    Tell whether a file is a picture by its name.

    :param path: of the file.
    """
    return suffix_of(path) == SUFFIX


def read_picture(path: str | Path) -> NDArray:
    """
    Read a picture of one channel.

    :param path: of a PNG: grey of 1, 2 or 4 bits (scaled to [0, 255], as ITK does), 8
        or 16 bits, or with a palette. Of coloured palettes, as label maps have them,
        the indices count; those of greys are what they show.
    :return: (columns, rows, 1), 8 or 16 bits without sign.
    :raises ValueError: when it cannot be read, or has colours.
    """
    with _opened(path) as image:
        pixels = np.asarray(image)
        palette = image.getpalette("RGB") if image.mode == "P" else None
    if pixels.dtype == bool:
        pixels = 255 * pixels.astype(np.uint8)
    elif pixels.dtype != np.uint8:
        pixels = pixels.astype(np.uint16)
    if palette is not None:
        pixels = _of_palette(pixels, np.reshape(palette, (-1, 3)).astype(np.uint8))
    return np.ascontiguousarray(pixels.T)[..., None]


@contextmanager
def _opened(path: str | Path) -> Iterator[Image.Image]:
    """Open a picture of one channel; its pixels are read inside, if at all."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            mode = image.mode
            if mode in _MODES:
                yield image
                return
    except _UNREADABLE as err:
        raise ValueError(f"{path}: cannot be read as a PNG ({err}).") from err
    raise ValueError(
        f"{path}: expected a picture of one channel, grey or a label map with a "
        f"palette, got {mode}. Save it as grey, without colours and transparency."
    )


def _of_palette(indices: NDArray[np.uint8], palette: NDArray) -> NDArray[np.uint8]:
    """Return the greys of a grey palette, as some programs save images, or indices."""
    if (palette == palette[:, :1]).all():
        return palette[:, 0].take(indices, mode="clip")
    return indices


def read_header(path: str | Path) -> PictureHeader:
    """
    Read what a picture says of itself before its pixels.

    :param path: of a PNG.
    :raises ValueError: as `read_picture`.
    """
    with _opened(path) as image:
        dtype = "uint16" if image.mode.startswith("I") else "uint8"
        return PictureHeader(image.size, dtype, _stated_spacing(path))


def _stated_spacing(path: str | Path) -> tuple[float, float] | None:
    """Find the chunk sCAL; of sides of 1, which ITK writes of any image, none."""
    with Path(path).open("rb") as file:
        file.seek(_CHUNKS)
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind == b"IDAT":
                break
            data = file.read(length + 4)[:-4]  # its check sum follows
            if kind == b"sCAL":
                # a unit, which ITK does not look at, and two numbers as text
                width, height = (float(text) for text in data[1:].split(b"\0"))
                is_stated = width > 0 < height and (width, height) != (1, 1)
                return (width, height) if is_stated else None
    return None


def save_picture(
    path: str | Path,
    image: NDArray,
    dtype: DTypeLike | None = None,
    spacing: Sequence[float] | NDArray = (1.0, 1.0),
) -> None:
    """
    Write an image of two axes as a grey picture.

    :param path: ends in .png.
    :param image: (columns, rows, 1), finite; rounded, and cut off where it is beyond
        the type.
    :param dtype: uint8 or uint16; None takes 16 bits where 8 are too few.
    :param spacing: sides of a pixel, kept as ITK keeps them.
    :raises ValueError: for several slices.
    """
    if image.ndim != 3 or image.shape[2] != 1:
        raise ValueError(
            f"{path}: expected an image of two axes, (columns, rows, 1), for a PNG, "
            f"got shape {image.shape}. Write it to .nii.gz."
        )
    is_small = image.max() <= np.iinfo(np.uint8).max
    kind = np.dtype(dtype or (np.uint8 if is_small else np.uint16))
    limits = np.iinfo(kind)
    whole = np.clip(np.rint(image[..., 0]), limits.min, limits.max).astype(kind)
    stream = BytesIO()
    Image.fromarray(np.ascontiguousarray(whole.T)).save(stream, format="PNG")
    data, chunk = stream.getvalue(), b""
    if not np.array_equal(spacing, (1, 1)):
        chunk = _scale_chunk(float(spacing[0]), float(spacing[1]))
    with whole_file(path) as part:
        part.write_bytes(data[:_AFTER_HEAD] + chunk + data[_AFTER_HEAD:])


def _scale_chunk(width: float, height: float) -> bytes:
    """Return the chunk sCAL; its unit, the metre, is the one that ITK writes."""
    data = b"sCAL" + f"\1{width:.9g}\0{height:.9g}".encode("ascii")
    check = zlib.crc32(data)
    return struct.pack(">I", len(data) - 4) + data + struct.pack(">I", check)


def mask_to_unit(voxels: NDArray) -> NDArray:
    """
    Bring a mask of 0 and 255, as pictures hold them, to 0 and 1.

    :param voxels: any shape.
    :return: the mask, float32; what is no such mask as it is.
    """
    is_inside = voxels == 255
    if not is_inside.any() or not (is_inside | (voxels == 0)).all():
        return voxels
    return is_inside.astype(np.float32)
