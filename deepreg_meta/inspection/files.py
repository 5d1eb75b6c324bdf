"""Check the files of a case one by one, and against each other."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from numpy.typing import NDArray

from deepreg_meta.dataset.flat import label_shape, volume_shape
from deepreg_meta.dataset.place_check import check_same_place
from deepreg_meta.dataset.volume_check import check_image, check_label, check_num_axes
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.inspection.entries import Entry
from deepreg_meta.inspection.facts import (
    FOREGROUND,
    Intensities,
    LabelFacts,
    as_trained,
    infer_indices,
    intensities,
    label_facts,
    read_label,
    read_voxels,
)
from deepreg_meta.inspection.finding import Finding, problems, warnings
from deepreg_meta.inspection.header import Header, read_header

# millimetres along the longest side of an image; outside, the unit is in doubt
_PLAUSIBLE_MM = (5.0, 2000.0)


@dataclass(frozen=True, eq=False)
class FileRecord:
    """
    A file of a case and what was found in it.

    :param split: train, valid, test; "" for single files.
    :param case: name of the case.
    :param entry: the file.
    :param header: None where the file cannot be read.
    :param image: numbers of an image; None for labels, and where voxels were not read.
    :param label: numbers of a label; None likewise.
    :param findings: what is wrong.
    """

    split: str
    case: str
    entry: Entry
    header: Header | None
    image: Intensities | None
    label: LabelFacts | None
    findings: tuple[Finding, ...]

    @property
    def has_problem(self) -> bool:
        """Whether training would not accept the file."""
        return any(finding.level == "problem" for finding in self.findings)


def check_case(
    split: str,
    case: str,
    entries: Iterable[Entry],
    indices: Mapping[str, int] | None,
    fast: bool,
    loose: bool = False,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> Iterator[FileRecord]:
    """
    Check each file of a case.

    :param split: name of the split.
    :param case: name of the case.
    :param entries: the files, images before their labels; the kind of a label is that
        of its image with another word.
    :param indices: names and integers of index maps; None for channels in [0, 1].
    :param fast: read the headers alone.
    :param loose: take whole numbers beyond 1 as an index map.
    :param shapes: of the network's grids, by kind of image.
    :return: a record for each file.
    """
    images: dict[str, Header] = {}
    for entry in entries:
        header, found = read_header(entry)
        if header is None:
            yield FileRecord(split, case, entry, None, None, None, tuple(found))
            continue
        is_label = "label" in entry.kind
        images.setdefault(entry.kind, header)
        of_image = images.get(entry.kind.replace("label", "image"))
        found += _check_place(header, of_image, is_label)
        image = label = voxels = None
        if is_label and not fast:
            shape = None if of_image is None else of_image.shape
            voxels, unread = read_label(entry, shape)
            found += unread
        elif not fast:
            voxels, unread = read_voxels(entry)
            found += unread
        if voxels is not None and is_label:
            stored = voxels
            voxels = as_trained(stored, entry, is_map=indices is not None)
            chosen = infer_indices(voxels) if loose else indices
            label, wrong = _check_label(voxels, stored, entry.place, chosen)
            found += wrong
        elif voxels is not None:
            image, wrong = _check_image(voxels, header, (shapes or {}).get(entry.kind))
            found += wrong
        yield FileRecord(split, case, entry, header, image, label, tuple(found))


def _check_place(
    header: Header, of_image: Header | None, is_label: bool
) -> list[Finding]:
    """Check the size of an image, or a label's grid against that of its image."""
    place, grid = header.entry.place, header.known_grid
    if not is_label:
        return [] if grid is None else _check_image_grid(header, grid)
    if of_image is None:
        return []  # its absence has been named
    shape = label_shape(header.shape, of_image.shape)[:3]
    if shape != volume_shape(of_image.shape)[:3]:
        text = (
            f"{place}: expected the grid of its image, {of_image.shape[:3]}, got "
            f"{header.shape[:3]}."
        )
        return problems("labels on another grid than their image", [text])
    if header.grid is None or of_image.grid is None:
        return []
    texts = check_same_place(
        *(header.place, of_image.place, of_image.grid.shape),
        *(place, of_image.entry.place),
    )
    return problems("labels that lie elsewhere than their image", texts)


def _check_image_grid(header: Header, grid: Grid) -> list[Finding]:
    place = header.entry.place
    found = _check_size(place, grid)
    if header.place.layout != "volume" and not grid.is_planar:
        text = (
            f"{place}: its results will have three axes, while ITK reads the file as "
            "2-D and leaves out where its plane lies."
        )
        found += warnings("files of two axes outside the plane z = 0", [text])
    return found


def _check_size(place: str, grid: Grid) -> list[Finding]:
    longest = float((grid.spacing_mm * grid.shape).max())
    low, high = _PLAUSIBLE_MM
    if low <= longest <= high:
        return []
    text = f"{place}: expected an image of {low:g} to {high:g} mm, got {longest:.4g}."
    return warnings("sizes that make the unit doubtful", [text])


def _check_image(
    voxels: NDArray, header: Header, wanted: tuple[int, ...] | None
) -> tuple[Intensities | None, list[Finding]]:
    place = header.entry.place
    texts = check_image(voxels, place)
    if wanted is not None:
        has_two_axes = header.place.layout != "volume"
        texts += check_num_axes(voxels, place, wanted, has_two_axes)
    facts = intensities(voxels) if voxels.size else None
    return facts, problems("images that cannot be used", texts)


def _check_label(
    voxels: NDArray, stored: NDArray, place: str, indices: Mapping[str, int] | None
) -> tuple[LabelFacts | None, list[Finding]]:
    # its own shape: the header has been compared with that of the image
    texts = check_label(voxels, voxels.shape[:3], indices, place)
    if not voxels.size:
        return None, problems("labels that cannot be used", texts)
    facts = label_facts(voxels, indices, stored)
    found = problems("labels that cannot be used", texts)
    if not texts:
        empty = [name for name, number in facts.num_voxels.items() if not number]
        found += problems(
            "label channels without voxels",
            [
                f"{place}: expected voxels >= {FOREGROUND} in every structure, got "
                f"none for {name}."
                for name in empty
            ],
        )
    return facts, found
