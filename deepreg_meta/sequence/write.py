"""The files of a tracked sequence: fields, velocities, labels and points."""

import csv
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from deepreg_meta.geometry.affine import FLIP
from deepreg_meta.geometry.itk_file import keeps_to_plane
from deepreg_meta.geometry.nifti_field import write_field
from deepreg_meta.geometry.transform import Field
from deepreg_meta.geometry.volume_file import set_forms
from deepreg_meta.geometry.whole_file import whole_file
from deepreg_meta.sequence.frames import FrameSequence, pair_name
from deepreg_meta.sequence.track import (
    TrackedPair,
    displacement_field,
    velocity_field,
)

FIELDS, VELOCITIES = "fields", "velocity"
# of a folder of results; what else is in one is somebody else's
PATTERNS = (
    *("tracking.csv", "tracking.png", "tracking.json", "drift.csv", "summary.csv"),
    *("summary.md", "columns.md", "config.yaml", "label.nii.gz", "points.csv"),
    *("motion.gif", f"{FIELDS}/[0-9]*_to_[0-9]*.nii.gz", f"{VELOCITIES}/[0-9]*.nii.gz"),
)


def write_pair(folder: Path, pair: TrackedPair, sequence: FrameSequence) -> None:
    """
    Write the displacement and the velocity of a pair.

    `fields/004_to_003.nii.gz` is the transform of the pair, from frame 4 to frame 3:
    `deepreg_warp` and ITK bring frame 3 onto frame 4 by it. `velocity/004.nii.gz` is
    the velocity of the tissue at frame 4, forward in time. Both are of intent 1007,
    axes L, P, S, of images of two axes with two components.

    :param folder: of the results.
    :param pair: of the sequence.
    :param sequence: the frames.
    """
    own = displacement_field(pair.ddf, sequence.grid)
    _write(folder / FIELDS / f"{pair.name}.nii.gz", own, sequence)
    speed = velocity_field(pair, sequence)
    _write(folder / VELOCITIES / f"{pair.fixed:03d}.nii.gz", speed, sequence)


def write_frame_field(
    folder: Path, fixed: int, moving: int, ddf: NDArray, sequence: FrameSequence
) -> None:
    """
    Write the displacement from one frame to another.

    :param folder: to write to.
    :param fixed: index of the frame on whose grid the field lies.
    :param moving: index of the frame that it leads to.
    :param ddf: (d1, d2, d3, 3), voxels.
    :param sequence: the frames.
    """
    field = displacement_field(ddf, sequence.grid)
    _write(folder / f"{pair_name(fixed, moving)}.nii.gz", field, sequence)


def _write(path: Path, field: Field, sequence: FrameSequence) -> None:
    is_flat = sequence.is_planar and keeps_to_plane(field)
    write_field(path, field, 2 if is_flat else 3)


def write_volumes(
    path: Path, volumes: Sequence[NDArray], sequence: FrameSequence
) -> None:
    """
    Write a volume for each frame as one file, time its last axis.

    :param path: ends in .nii or .nii.gz.
    :param volumes: T of (d1, d2, d3).
    :param sequence: the frames; their time step goes into the header.
    """
    image = nib.Nifti1Image(np.stack(volumes, axis=-1), sequence.grid.affine)
    set_forms(image, sequence.grid.affine)
    if sequence.time_step_s is not None:
        image.header.set_xyzt_units("mm", "sec")
        sides = image.header.get_zooms()[:3]
        image.header.set_zooms((*sides, sequence.time_step_s))
    with whole_file(path) as part:
        nib.save(image, part)


def write_points(
    path: Path,
    names: Sequence[str],
    points: Sequence[NDArray],
    sequence: FrameSequence,
) -> None:
    """
    Write where points are in every frame.

    :param path: CSV with the columns frame, time_s (where it is known), name, the
        place in mm (LPS) and in voxels.
    :param names: N names.
    :param points: T of (N, 3), mm, RAS.
    :param sequence: the frames.
    """
    has_time = sequence.time_step_s is not None
    text = StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    head = ["frame", "time_s"] if has_time else ["frame"]
    writer.writerow([*head, "name", "x_lps_mm", "y_lps_mm", "z_lps_mm", "i", "j", "k"])
    for frame, places in enumerate(points):
        start = [str(frame)]
        if has_time:
            start.append(f"{sequence.time_s(frame):.6g}")
        voxels = sequence.grid.to_voxel(places)
        for name, point, voxel in zip(names, places * FLIP, voxels, strict=True):
            # + 0.0: no minus sign of a zero
            numbers = [f"{round(v, 4) + 0.0:.4f}" for v in (*point, *voxel)]
            writer.writerow([*start, name, *numbers])
    with whole_file(path) as part:
        part.write_text(text.getvalue(), encoding="utf-8")
