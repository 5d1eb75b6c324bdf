"""Segment one image or many with a bar, and write what comes out."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from deepreg_meta.atlas.folder import ATLASES, STRUCTURES, SUMMARY
from deepreg_meta.atlas.segmenter import Job, Segmenter
from deepreg_meta.atlas.table import (
    Row,
    score_columns,
    summarize,
    wide_summary,
    write_rows,
)
from deepreg_meta.geometry.whole_file import whole_file
from deepreg_meta.study.table import markdown


def segment_one(
    segmenter: Segmenter, job: Job, folder: Path, figure: bool = True
) -> str:
    """
    Segment an image and write what comes out.

    :param segmenter: has the network and the atlases.
    :param job: the image.
    :param folder: that is there.
    :param figure: whether to draw.
    :return: the tables as text.
    :raises ValueError: for files that cannot be used.
    """
    target, named = job
    total = segmenter.numbers(target, named).registrations
    with tqdm(total=total, unit="pair", desc="registering") as bar:
        return segmenter.segment(target, named, bar.update).write(folder, figure)


def segment_many(
    segmenter: Segmenter, jobs: Sequence[Job], folder: Path, figures: bool = True
) -> str:
    """
    Segment images and write a folder for each, and tables over all.

    :param segmenter: has the network and the atlases.
    :param jobs: at least one.
    :param folder: that is there; gets a folder for each target, and the tables of all.
    :param figures: whether to draw.
    :return: the summary as text.
    :raises ValueError: for files that cannot be used.
    """
    # before any long work
    segmenter.check(jobs)
    numbers = [segmenter.numbers(*job) for job in jobs]
    total = sum(own.registrations for own in numbers)
    atlases: list[Row] = []
    structures: list[Row] = []
    with tqdm(total=total, unit="pair", desc="registering") as bar:
        for target, named in jobs:
            bar.set_postfix_str(target.name)
            found = segmenter.segment(target, named, bar.update)
            found.write(folder / found.name, figures)
            atlases += found.atlas_rows
            structures += found.structure_rows
    write_rows(folder / ATLASES, atlases)
    write_rows(folder / STRUCTURES, structures)
    most = (max(column) for column in zip(*numbers, strict=True))
    how = segmenter.options.describe(*most)
    text = f"# {len(jobs)} images\n\n{how}"
    rows = pd.DataFrame(structures)
    if score_columns(rows):
        write_rows(folder / SUMMARY[0], summarize(rows))
        text += f"\n\nMean ± SD over the images.\n\n{markdown(wide_summary(rows))}"
    with whole_file(folder / SUMMARY[1]) as part:
        part.write_text(text + "\n", encoding="utf-8")
    return text
