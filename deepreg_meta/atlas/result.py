"""A segmented image: the fused labels, the atlases that gave them, and the scores."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepreg_meta.atlas.figure import Maps, segmentation_figure
from deepreg_meta.atlas.folder import ATLASES, STRUCTURES, check_output
from deepreg_meta.atlas.label_map import save_label_map
from deepreg_meta.atlas.table import FUSED, Row, structure_rows, values_of, write_rows
from deepreg_meta.dataset.image_folder import ImageFiles
from deepreg_meta.geometry.whole_file import whole_file
from deepreg_meta.results.folder import whole_folder
from deepreg_meta.study.table import markdown


@dataclass(frozen=True, eq=False)
class WarpedAtlas:
    """
    An atlas, registered to a target.

    :param files: of the atlas.
    :param labels: (d1, d2, d3), its index map on the target's own grid.
    :param before: similarity on the network's grid, after the initial alignment; of the
        template, where its labels went through one.
    :param after: that of the atlas through the whole transform.
    :param seconds: of adaptation and prediction; through a template, of both
        registrations, even where one is known from another target.
    :param warning: what is suspect about the transform; empty for nothing.
    :param template: name of the image that the labels went through; "" for none.
    """

    files: ImageFiles
    labels: NDArray
    before: float
    after: float
    seconds: float
    warning: str = ""
    template: str = ""


@dataclass(frozen=True, eq=False)
class TargetImage:
    """
    The image that is segmented, as its files hold it.

    :param files: image, and true labels where there are such.
    :param image: (d1, d2, d3), its intensities.
    :param truth: (d1, d2, d3), the true index map, or None.
    :param spacing: (3,), voxel sides.
    :param unit: of lengths: mm, or voxels where the spacing is nominal.
    :param display: how figures show it, see `Source.display`.
    """

    files: ImageFiles
    image: NDArray
    truth: NDArray | None
    spacing: NDArray
    unit: str = "mm"
    display: str | None = None


@dataclass(frozen=True, eq=False)
class Segmentation:
    """
    A segmented image.

    :param target: the image.
    :param labels: (d1, d2, d3), the fused index map, on the image's own grid.
    :param atlases: in the order of their similarity before registration; then the same
        through templates.
    :param known_names: of structures, by value; others go by their values.
    :param how: what was done, in words.
    """

    target: TargetImage
    labels: NDArray
    atlases: tuple[WarpedAtlas, ...]
    known_names: dict[int, str]
    how: str = ""

    @property
    def name(self) -> str:
        """Of the target."""
        return self.target.files.name

    @cached_property
    def names(self) -> dict[int, str]:
        """The structures that an atlas or the truth shows, by value."""
        maps = [self.labels, *(own.labels for own in self.atlases)]
        maps += [] if self.target.truth is None else [self.target.truth]
        return {v: self.known_names.get(v, str(v)) for v in values_of(maps)}

    @cached_property
    def atlas_rows(self) -> list[Row]:
        """A row for each atlas: rank, similarities, seconds."""
        return [
            {
                "target": self.name,
                "rank": number,
                "atlas": own.files.name,
                "template": own.template,
                "similarity_before": own.before,
                "similarity_after": own.after,
                "seconds": own.seconds,
                "warning": own.warning,
            }
            for number, own in enumerate(self.atlases, start=1)
        ]

    @cached_property
    def structure_rows(self) -> list[Row]:
        """A row for each structure: of the fused labels (rank 0), and of each atlas."""
        maps = [(FUSED, "", self.labels)]
        maps += [(own.files.name, own.template, own.labels) for own in self.atlases]
        target = self.target
        return [
            {
                "target": self.name,
                "rank": number,
                "atlas": atlas,
                "template": template,
                **row,
            }
            for number, (atlas, template, found) in enumerate(maps)
            for row in structure_rows(
                found, target.truth, self.names, target.spacing, target.unit
            )
        ]

    @property
    def dsc(self) -> dict[str, float]:
        """Dice of the fused labels by structure; empty without true labels."""
        rows = self.structure_rows if self.target.truth is not None else []
        return {row["structure"]: row["dsc"] for row in rows if row["rank"] == 0}

    def save(self, folder: str | Path, figure: bool = True) -> str:
        """
        Write the labels, the tables and a figure.

        :param folder: of the results; earlier results in it are replaced.
        :param figure: whether to draw.
        :return: the tables as text.
        :raises ValueError: when the folder holds something else.
        """
        folder = Path(folder).expanduser()
        check_output(folder)
        with whole_folder(folder) as working:
            return self.write(working, figure)

    def write(self, folder: Path, figure: bool = True) -> str:
        """
        Write the files of `save` into a folder that is there, or is made.

        :param folder: of the results.
        :param figure: whether to draw.
        :return: the tables as text.
        """
        folder.mkdir(parents=True, exist_ok=True)
        save_label_map(folder, "segmentation", self.labels, self.target.files.image)
        write_rows(folder / ATLASES, self.atlas_rows)
        write_rows(folder / STRUCTURES, self.structure_rows)
        text = self.describe()
        with whole_file(folder / "segmentation.md") as part:
            part.write_text(text + "\n", encoding="utf-8")
        if figure:
            self._draw(folder / "figure.png")
        return text

    def describe(self) -> str:
        """Return the tables as Markdown."""
        has_templates = any(own.template for own in self.atlases)
        hidden = ["target"] if has_templates else ["target", "template"]
        atlases, structures = (
            pd.DataFrame(rows).drop(columns=[*hidden, *more])
            for rows, more in (
                (self.atlas_rows, ()),
                (self.structure_rows, ("rank", "value")),
            )
        )
        tables = markdown(atlases, digits=4), markdown(structures, digits=4)
        parts = [f"# {self.name}", self.how, *tables]
        return "\n\n".join(part for part in parts if part)

    def _draw(self, path: Path) -> None:
        target, title = self.target, self.name
        known = [value for value in self.dsc.values() if not np.isnan(value)]
        if known:
            title += f"   Dice {np.mean(known):.3f}"
        segmentation_figure(
            path,
            target.image,
            Maps(self.labels, target.truth),
            self.names,
            target.spacing,
            target.display,
            title,
        )
