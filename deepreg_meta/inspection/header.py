"""What a file says of its voxels before they are read: shape, type, place in space."""

from dataclasses import dataclass
from typing import Any

import h5py

from deepreg_meta.dataset.place_check import check_place
from deepreg_meta.dataset.stored import Place, h5_place, place_of, read_place
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.picture_file import is_picture
from deepreg_meta.geometry.picture_file import read_header as read_picture_header
from deepreg_meta.geometry.volume_file import UNREADABLE as BY_NIBABEL
from deepreg_meta.geometry.volume_file import forms_apart, load_image, say_of_forms
from deepreg_meta.inspection.entries import Entry
from deepreg_meta.inspection.finding import Finding, problems, warnings

UNREADABLE = (*BY_NIBABEL, MemoryError)


@dataclass(frozen=True, eq=False)
class Header:
    """
    What a file says before its voxels are read.

    :param entry: the file.
    :param shape: as stored.
    :param dtype: as stored.
    :param unit: of lengths; "-" where the format has none.
    :param place: where the voxels lie, before any check.
    :param grid: of the first three axes; None where the place cannot be.
    """

    entry: Entry
    shape: tuple[int, ...]
    dtype: str
    unit: str
    place: Place
    grid: Grid | None

    @property
    def known_grid(self) -> Grid | None:
        """The grid where the file states an affine, as HDF5 may and PNG does not."""
        return self.grid if self.place.has_affine else None


def read_header(entry: Entry) -> tuple[Header | None, list[Finding]]:
    """
    Read what a file says of its voxels, without them.

    :param entry: the file.
    :return: the header, None for a file that cannot be read; what is wrong with it.
    """
    found: list[Finding] = []
    try:
        if entry.key is not None:
            shape, dtype, place = _read_h5(entry)
            unit = "-"
        elif is_picture(entry.path):
            shape, dtype, _ = read_picture_header(entry.path)
            place, unit = read_place(entry.path), "-"
        else:
            image = load_image(entry.path)
            shape, dtype = tuple(image.shape), str(image.get_data_dtype())
            place, unit = place_of(image, entry.place), _unit(image.header)
            found += _check_forms(entry, image.header)
    except UNREADABLE as err:
        return None, [unreadable(entry, err)]
    texts = check_place(place, entry.place)
    found += problems("places in space that cannot be", texts)
    grid = None
    if not texts and len(shape) >= 2 and min(shape) >= 1:
        d1, d2, d3 = (*shape, 1)[:3]
        grid = Grid((d1, d2, d3), place.affine)
    return Header(entry, shape, dtype, unit, place, grid), found


def _read_h5(entry: Entry) -> tuple[tuple[int, ...], str, Place]:
    with h5py.File(entry.path, "r") as file:
        data = file[entry.key]
        return data.shape, str(data.dtype), h5_place(data)


def _unit(header: Any) -> str:
    try:
        return header.get_xyzt_units()[0]
    except (AttributeError, KeyError):
        return "-"


def _check_forms(entry: Entry, header: Any) -> list[Finding]:
    """Find NIfTI headers that readers take for different places."""
    if not hasattr(header, "get_sform"):
        return []
    codes = int(header["sform_code"]), int(header["qform_code"])
    if codes == (0, 0):
        text = (
            f"{entry.place}: sform and qform are both without a code, so every program "
            "makes up a place of its own. Set one of them."
        )
        return warnings("headers that readers differ on", [text])
    apart = forms_apart(header)
    if not apart:
        return []
    text = say_of_forms(entry.place, apart)
    return warnings("headers that readers differ on", [text])


def unreadable(entry: Entry, err: BaseException) -> Finding:
    """
    Say that a file cannot be read.

    :param entry: the file.
    :param err: one of `UNREADABLE`.
    """
    text = str(err)
    if not text.startswith(entry.place):
        reason = f"{type(err).__name__}: {err}"
        text = f"{entry.place}: cannot be read ({reason})."
    [finding] = problems("files that cannot be read", [text])
    return finding
