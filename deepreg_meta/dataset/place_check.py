"""
What is wrong with where the volumes of a case lie, in words for the user.
"""

import contextlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from deepreg_meta.dataset.source import Source
from deepreg_meta.dataset.stored import Place
from deepreg_meta.geometry.affine import GeometryError, check_affine
from deepreg_meta.geometry.grid import Grid, Shape

# The same affine, written once as sform and once as qform, differs by rounding; so it
# does after a tool has taken it apart and put it together again.
TOLERANCE_VOX = 1e-2


def check_place(place: Place, path: str) -> list[str]:
    """
    Check where one file says that its voxels lie.

    :param place: as read.
    :param path: of the file, for the messages.
    :return: one line per problem: its unit, its affine.
    """
    problems = [place.problem] if place.problem else []
    try:
        check_affine(place.affine, path)
    except GeometryError as err:
        problems.append(str(err))
    return problems


def check_same_place(
    label: Place, image: Place, shape: Shape, label_path: str, image_path: str
) -> list[str]:
    """
    Check that a label lies where its image lies.

    A label whose affine is the identity or unset says nothing, nor does an image that
    states no affine; then the voxels count.

    :param label: place of the label.
    :param image: place of the image, which is good.
    :param shape: of both.
    :param label_path: for the message.
    :param image_path: for the message.
    :return: one line per problem.
    """
    stated = [f for f in label.forms if not np.array_equal(f, np.eye(4))]
    if not stated or not image.forms:
        return []
    problems = check_place(label, label_path)
    if problems:
        return problems
    ours, others = _grids(shape, stated), _grids(shape, image.forms)
    if any(a.is_same(b, TOLERANCE_VOX) for a in ours for b in others):
        return []
    corners = Grid(shape, label.affine).corners() - Grid(shape, image.affine).corners()
    apart = np.linalg.norm(corners, axis=-1).max()
    return [
        f"{label_path}: expected the place of its image {image_path}, got an affine "
        f"that sets their corners up to {apart:.4g} mm apart. Resample the label to "
        "its image, or give it the image's affine."
    ]


def _grids(shape: Shape, affines: Sequence[NDArray]) -> list[Grid]:
    """Return the grids of those affines that can be."""
    grids = []
    for affine in affines:
        with contextlib.suppress(GeometryError):
            grids.append(Grid(shape, affine))
    return grids


def check_overlap(moving: Source, fixed: Source) -> list[str]:
    """
    Check that two volumes that lie where their affines say share some space.

    :param moving: of the pair.
    :param fixed: of the pair.
    :return: one line where they share none.
    """
    first, second = moving.grid, fixed.grid
    if first.contains(second.centre) or second.contains(first.centre):
        return []
    if first.overlap(second) or second.overlap(first):
        return []
    apart = np.linalg.norm(first.centre - second.centre)
    return [
        f"{moving.path}: expected some overlap with the fixed image {fixed.path}, "
        f"because `align: affine` lays both where their affines say, got none: their "
        f"centres are {apart:.4g} mm apart. Correct the affines, use "
        "`align: center`, or register files with `--initial mass`."
    ]
