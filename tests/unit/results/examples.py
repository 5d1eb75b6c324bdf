"""
Registered pairs made by hand: balls in files, networks' grids of other axes and voxel
sizes, and shifts whose lengths are known.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from deepreg_meta.dataset.case import Case
from deepreg_meta.dataset.source import Source
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.results.case import CaseResult
from tests.unit.geometry.places import affine

FIXED, MOVING = (12, 14, 10), (16, 16, 14)
SHIFT = np.array([1.0, -1.0, 2.0])  # voxels of the files, what the field has to find
OFFSET = np.array([2.0, 1.0, 1.0])  # voxels of the files, of the alignment
CENTRES = np.array([[5, 7, 4], [4, 8, 4], [6, 6, 5]], float)  # in the fixed file
RADII = (2.6, 0.9, 0.9)
NAMES = ("gland", "cyst", "apex")
HISTORY = ["label", "total", "num_frames", "dsc", "tre_mm"]

# affines of the fixed and of the moving file
PLACES = {
    "upright": (
        affine((0, 0, 90), (1.0, 2.0, 0.5), (9, -4, 2)),
        affine((0, 0, 90), (1.0, 2.0, 0.5), (7, 3, -5)),
    ),
    "oblique": (
        affine((20, -35, 50), (0.8, 1.3, 2.5), (-12, 30, 7)),
        affine((-80, 15, 10), (1.1, 0.6, 1.9), (5, -3, 40)),
    ),
    "left-handed": (
        affine((12, -9, 100), (1, 2, 3), (3, 4, 5), (-1, 1, 1)),
        affine((10, 5, 3), (2, 1, 1.5), (-9, 0, 2), (1, 1, -1)),
    ),
}


class Turn(NamedTuple):
    """Which axis of the file each of a network's axes is, which way, in what steps."""

    order: tuple[int, int, int] = (0, 1, 2)
    signs: tuple[int, int, int] = (1, 1, 1)
    factor: tuple[int, int, int] = (1, 1, 1)  # voxels of the file in one of the network

    @property
    def matrix(self):
        """:return: (3, 3), steps of the network's grid in voxels of the file."""
        columns = np.zeros((3, 3))
        for axis, (own, sign, factor) in enumerate(zip(*self, strict=True)):
            columns[own, axis] = sign * factor
        return columns

    def first(self, shape):
        """:return: (3,), place of the network's first voxel, in voxels of the file."""
        first = np.zeros(3)
        for own, sign, factor in zip(*self, strict=True):
            half = (factor - 1) / 2
            first[own] = half if sign > 0 else shape[own] - 1 - half
        return first

    def grid(self, file):
        """:return: the network's grid, which covers the file's."""
        to_file = np.eye(4)
        to_file[:3, :3], to_file[:3, 3] = self.matrix, self.first(file.shape)
        shape = [
            file.shape[own] // factor for own, _, factor in zip(*self, strict=True)
        ]
        return Grid(tuple(shape), file.affine @ to_file)

    def carry(self, volumes):
        """:return: volumes (n, d1, d2, d3) of the file on the network's grid, means."""
        turned = volumes.transpose(0, *(own + 1 for own in self.order))
        for axis, sign in enumerate(self.signs):
            turned = np.flip(turned, axis + 1) if sign < 0 else turned
        for axis, factor in enumerate(self.factor):
            parts = [
                turned.take(range(i, turned.shape[axis + 1], factor), axis + 1)
                for i in range(factor)
            ]
            turned = np.mean(parts, axis=0)
        return turned.astype(np.float32)


TURNS = {
    "the file's own": Turn(),
    "flipped": Turn((0, 1, 2), (-1, 1, -1)),
    "turned, coarser": Turn((1, 2, 0), (1, -1, 1), (2, 1, 2)),
}


def balls(shape, centres):
    """:return: (n, *shape), binary balls of RADII."""
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    apart = [np.linalg.norm(grid - centre, axis=-1) for centre in centres]
    masks = [a <= radius for a, radius in zip(apart, RADII, strict=True)]
    return np.stack(masks).astype(np.float32)


def source(grid, image, labels, path):
    """:return: files that hold these volumes."""
    return Source(path, grid, lambda: (image, labels), (f"label of {path}",))


def make_case(place="oblique", turn=None, spacing_mm=None):
    """
    :param place: of PLACES.
    :param turn: from the files' grids to the network's.
    :param spacing_mm: of the files, which overrides that of their headers.
    :return: a pair whose moving structures lie OFFSET + SHIFT further on in the file,
        the first network voxels of both being laid on each other.
    """
    turn = turn or Turn()
    start = turn.first(MOVING) - turn.first(FIXED)
    rng = np.random.default_rng(0)
    sides = {}
    for kind, shape, matrix, centres in (
        ("fixed", FIXED, PLACES[place][0], CENTRES),
        ("moving", MOVING, PLACES[place][1], CENTRES + start + OFFSET + SHIFT),
    ):
        file = Grid(shape, matrix)
        labels = balls(shape, centres)
        image = rng.uniform(100, 900, shape).astype(np.float32) + 200 * labels[0]
        network = turn.grid(file)
        sides_mm = (
            file.spacing_mm if spacing_mm is None else np.array(spacing_mm, float)
        )
        sides |= {
            f"{kind}_image": turn.carry(image[None])[0],
            f"{kind}_labels": turn.carry(labels),
            f"{kind}_affine": network.affine,
            f"{kind}_spacing_mm": sides_mm[list(turn.order)] * turn.factor,
            f"{kind}_source": source(file, image, labels, f"{kind}.nii.gz"),
        }
    return Case(
        name="case7",
        indices=(7,),
        label_names=NAMES,
        spacing_is_nominal=spacing_mm is not None,
        **sides,
    )


def flat_case(layout="picture"):
    """
    :param layout: of the files.
    :return: a pair of images of two axes, 20 x 16 and 22 x 16, pixels of 1, whose
        moving structure lies 3 columns on.
    """
    rng = np.random.default_rng(0)
    sides = {}
    for kind, columns, step in (("fixed", 20, 0), ("moving", 22, 3)):
        label = np.zeros((1, columns, 16, 1), np.float32)
        label[0, 5 + step : 11 + step, 4:9] = 1
        image = rng.integers(0, 60, label.shape[1:]) + 150 * label[0]
        affine = np.diag([-1.0, -1.0, 1.0, 1.0])
        own = source(Grid(image.shape, affine), image, label, f"{kind}.png")
        sides |= {
            f"{kind}_image": image.astype(np.float32),
            f"{kind}_labels": label,
            f"{kind}_affine": affine,
            f"{kind}_spacing_mm": np.ones(3),
            f"{kind}_source": replace(own, layout=layout, has_orientation=False),
        }
    return Case(
        name="case7",
        indices=(7,),
        label_names=("lung",),
        spacing_is_nominal=True,
        **sides,
    )


def flat_result(case):
    """:return: a shift by 3 columns, one of which is that of the alignment."""
    shape = case.fixed_image.shape
    field = np.zeros((*shape, 3), np.float32)
    field[..., 0] = 2
    outputs = dict(
        ddf=field,
        ddf_unadapted=field / 2,
        matrix=np.eye(3, dtype=np.float32),
        offset=np.array([1, 0, 0], np.float32),
        slices=np.ones(shape[2], np.float32),
    )
    return make_result(case, is_sparse=False, frame_axis=2, **outputs)


def without_labels(case):
    """:return: the pair, its files without labels."""
    sources = {}
    for kind in ("moving", "fixed"):
        own = getattr(case, f"{kind}_source")
        image = own.read()[0]
        sources[f"{kind}_source"] = source(own.grid, image, None, own.path)
    return replace(
        case, moving_labels=None, fixed_labels=None, label_names=(), **sources
    )


def without_landmarks(case):
    """:return: the pair, its files with the first label alone."""
    changes = {}
    for kind in ("moving", "fixed"):
        own = getattr(case, f"{kind}_source")
        image, labels = own.read()
        changes[f"{kind}_source"] = source(own.grid, image, labels[:1], own.path)
        changes[f"{kind}_labels"] = getattr(case, f"{kind}_labels")[:1]
    return replace(case, label_names=case.label_names[:1], **changes)


def make_result(case, turn=None, **options):
    """
    :param case: of `make_case`.
    :param turn: the same as the case's.
    :param options: of the result or of its outputs.
    :return: half of the shift unadapted, all of it after two updates; frames 3, 4 and
        6 of axis 1 of the network's grid are seen.
    """
    turn = turn or Turn()
    shape = case.fixed_image.shape
    to_network = np.linalg.inv(turn.matrix)
    field = np.broadcast_to(to_network @ SHIFT, (*shape, 3)).astype(np.float32)
    slices = np.zeros(shape[1], np.float32)
    slices[[3, 4, 6]] = 1
    outputs = dict(
        ddf=field,
        ddf_unadapted=field / 2,
        matrix=np.eye(3, dtype=np.float32),
        offset=(to_network @ OFFSET).astype(np.float32),
        slices=slices,
        history=np.array([[-0.2, -0.1, 2, 0.5, 3.0], [-0.6, -0.4, 3, 0.7, 2.0]]),
        best_step=np.int32(1),
        losses=np.array([-0.1, -0.4], np.float32),
    )
    outputs |= {name: options.pop(name) for name in list(options) if name in outputs}
    settings = dict(seconds=4.0, frame_axis=1, is_sparse=True)
    return CaseResult(case=case, outputs=outputs, **{**settings, **options})
