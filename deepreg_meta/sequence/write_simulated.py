"""Write a simulated sequence with everything that is known of it."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np

from deepreg_meta.geometry.landmarks import save_landmarks
from deepreg_meta.geometry.picture_file import save_picture
from deepreg_meta.geometry.volume_file import save_volume
from deepreg_meta.results.folder import whole_folder
from deepreg_meta.sequence.echo import EchoOptions
from deepreg_meta.sequence.frames import DIRECTIONS, pair_indices
from deepreg_meta.sequence.heart import MYOCARDIUM, Heart
from deepreg_meta.sequence.simulated import EchoSequence, simulate
from deepreg_meta.sequence.write import write_frame_field, write_volumes

STAMP_NAME = "simulated.json"
Form = Literal["nifti", "png"]


def write_sequence(
    folder: str | Path,
    seed: int = 0,
    options: EchoOptions | None = None,
    heart: Heart | None = None,
    form: Form = "nifti",
) -> Path:
    """
    Write a simulated sequence, or reuse the one that is there.

    The folder holds `sequence.nii.gz`, (columns, rows, 1, T), 8 bits, with its time
    step in the header, or `frames/frame_000.png`, ...; `labels/label_000.nii.gz` (or
    .png), ... (1 cavity, 2 myocardium); `myocardium.nii.gz`, a mask for each frame;
    `points/points_000.csv`, ... with points of the wall; `truth/001_to_000.nii.gz` and
    `truth/000_to_001.nii.gz`, ... with the true displacements of neighbouring frames,
    in both directions; and `simulated.json` with all parameters.

    :param folder: a new or empty one, or one that this call has filled before.
    :param seed: integer >= 0.
    :param options: what the sequence is like; None is the default.
    :param heart: whose motion it is; None draws one by the seed.
    :param form: nifti, or png for a folder of pictures, which state the spacing as
        those of ITK do.
    :return: the folder. It is written whole or not at all.
    :raises ValueError: for another form, or a folder that holds anything else.
    """
    if form not in ("nifti", "png"):
        raise ValueError(f"form: expected nifti or png, got {form!r}.")
    folder, options = Path(folder).expanduser(), options or EchoOptions()
    given = {
        "seed": int(seed),
        "form": form,
        "options": asdict(options),
        "heart": None if heart is None else asdict(heart),
    }
    if _is_there(folder, given):
        return folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(
            f"folder: expected a new or empty folder, or one with this very sequence, "
            f"got {folder} with other content. Choose another one, or remove it."
        )
    echo = simulate(seed, options, heart)
    with whole_folder(folder) as working:
        _fill(working, echo, form)
        stamp = {"parameters": given, "heart": asdict(echo.heart)}
        (working / STAMP_NAME).write_text(json.dumps(stamp, indent=2) + "\n")
    return folder


def _is_there(folder: Path, given: dict[str, Any]) -> bool:
    stamp = folder / STAMP_NAME
    if not stamp.is_file():
        return False
    # through JSON, which has lists for tuples
    found = json.loads(stamp.read_text()).get("parameters")
    return found == json.loads(json.dumps(given))


def _fill(folder: Path, echo: EchoSequence, form: Form) -> None:
    sequence, grid = echo.sequence, echo.grid
    images = np.rint(255 * echo.images).astype(np.uint8)
    sides = grid.spacing_mm[:2]
    if form == "nifti":
        write_volumes(folder / "sequence.nii.gz", list(images), sequence)
    for index, (image, label) in enumerate(zip(images, echo.labels, strict=True)):
        name = folder / "labels" / f"label_{index:03d}"
        if form == "png":
            path = folder / "frames" / f"frame_{index:03d}.png"
            save_picture(path, image, np.uint8, sides)
            save_picture(name.with_suffix(".png"), label, np.uint8, sides)
        else:
            save_volume(name.with_suffix(".nii.gz"), label, grid.affine)
        points = folder / "points" / f"points_{index:03d}.csv"
        save_landmarks(points, echo.points(index))
    walls = [(label == MYOCARDIUM).astype(np.uint8) for label in echo.labels]
    write_volumes(folder / "myocardium.nii.gz", walls, sequence)
    for direction in DIRECTIONS:
        for fixed, moving in pair_indices(len(sequence), direction):
            ddf = echo.ddf(fixed, moving)
            write_frame_field(folder / "truth", fixed, moving, ddf, sequence)
