"""The parts of a report, before they become HTML or Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import NamedTuple


class Link(NamedTuple):
    """Words that lead to an anchor of the page."""

    text: str
    anchor: str


Cell = str | Link


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 is the title of the page."""

    level: int
    text: str
    anchor: str = ""


@dataclass(frozen=True)
class Paragraph:
    """Plain words."""

    text: str


@dataclass(frozen=True)
class Notices:
    """What a reader must not miss."""

    items: Sequence[str]


@dataclass(frozen=True)
class Definitions:
    """Terms and what they mean."""

    items: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Table:
    """
    A table.

    :param caption: above it.
    :param header: with units.
    :param rows: of as many cells; the first cell names the row.
    :param num_words: columns at the left that hold words, not numbers.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    num_words: int = 1


@dataclass(frozen=True)
class Picture:
    """
    A picture.

    :param alt: what it shows, for those who do not see it.
    :param data: of the file that is put into the HTML page.
    :param mime: such as image/svg+xml.
    :param file: beside the Markdown page, relative to it; None if there is none.
    """

    alt: str
    data: bytes = field(repr=False)
    mime: str
    file: PurePosixPath | None = None


@dataclass(frozen=True)
class Beside:
    """A picture with other parts at its right, where the page is wide enough."""

    picture: Picture
    blocks: Sequence["Block"]


@dataclass(frozen=True)
class Details:
    """A part that a reader may fold away."""

    summary: str
    blocks: Sequence["Block"]
    anchor: str = ""


Block = Heading | Paragraph | Notices | Definitions | Table | Picture | Beside | Details
