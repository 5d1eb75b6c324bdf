"""What the registration of a single pair needs beyond that of a data set."""

import logging
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepreg_meta.callback.fine_tune import FineTune
from deepreg_meta.config import RunConfig
from deepreg_meta.dataset.case import Case
from deepreg_meta.dataset.pair import PairFiles
from deepreg_meta.geometry.affine import GeometryError
from deepreg_meta.geometry.initial import centre_of_mass_affine
from deepreg_meta.geometry.landmarks import Landmarks
from deepreg_meta.geometry.overlap import check_overlap
from deepreg_meta.geometry.transform import Affine, Transform
from deepreg_meta.geometry.transform_file import load_transform
from deepreg_meta.geometry.volume_file import read_volume, say_of_forms
from deepreg_meta.results.case import CaseResult

logger = logging.getLogger(__name__)

_NEED_LABELS = ("centroid", "sections")
_PARALLEL_DEG = 2.0  # that axes may differ by without a word


def pair_config(config: RunConfig, initial: str, labeled: bool) -> RunConfig:
    """
    Return the configuration for a pair: its alignment, and whether it has labels.

    :param config: of the run.
    :param initial: as for `Registrar.register`.
    :param labeled: whether the pair has labels.
    :raises ValueError: where the pair cannot be aligned so.
    """
    mode = config.align.mode
    if initial != "config":
        if not config.is_reptile:
            raise ValueError(
                f"--initial: expected config for a network of DeepReg's method "
                f"{config.method}, which lays voxel on voxel as in its training, got "
                f"{initial!r}."
            )
        mode = "center" if initial == "center" else "affine"
    if mode in _NEED_LABELS and not labeled:
        raise ValueError(
            f"--initial: the run aligns by {mode!r}, which needs labels of both images "
            "but got none. Give --fixed-label and --moving-label, or --initial center, "
            "header, mass or a file."
        )
    raw = deepcopy(config.raw)
    raw["align"] = {**raw.get("align", {}), "mode": mode}
    dataset = config.dataset
    if not labeled and dataset.labeled:
        raw["dataset"] |= {"labeled": False, "labels": None}
        raw["train"]["loss"].pop("label", None)
        dataset = dataset.model_copy(update={"labeled": False, "labels": None})
    align = config.align.model_copy(update={"mode": mode})
    return replace(config, raw=raw, align=align, dataset=dataset)


def reading_config(config: RunConfig, initial: str) -> RunConfig:
    """
    Return the configuration that a pair is checked by when it is read.

    An initial transform may bring images together that their headers set apart; whether
    it does is checked where it is known.

    :param config: for the pair, from `pair_config`.
    :param initial: as for `Registrar.register`.
    """
    if initial == "config":
        return config
    align = config.align.model_copy(update={"mode": "center"})
    return replace(config, align=align)


def check_can_adapt(config: RunConfig, tuner: FineTune) -> None:
    """
    Refuse to adapt by the regularisation alone.

    :param config: for the pair, from `pair_config`.
    :param tuner: says how far adaptation goes.
    :raises ValueError: when no other term of the loss is left.
    """
    loss = config.raw["train"]["loss"]
    terms = [loss.get(name) or {} for name in ("image", "label")]
    if any(float(term.get("weight", 1.0)) > 0 for term in terms if term):
        return
    if not tuner.plan.is_none:
        raise ValueError(
            "--adapt-steps: this run adapts by labels, got a pair without any. Give "
            "--fixed-label and --moving-label, or --adapt-steps 0."
        )


def check_session(
    config: RunConfig, initial: str, labeled: bool, has_range: bool = False
) -> None:
    """
    Refuse a session of a run that goes by no frames, or that knows too little to begin.

    :param config: of the run.
    :param initial: as for `Registrar.session`.
    :param labeled: whether the moving side has labels.
    :param has_range: whether intensities are brought to [0, 1] by a given range.
    :raises ValueError: where there can be none.
    """
    if config.sparse_frames is None:
        raise ValueError(
            "train.preprocess.data_augmentation: expected sparse_frames, by which a "
            "network learns to go by some frames, got a run without."
        )
    if initial == "mass":
        raise ValueError(
            "initial: expected config, center, header or a file in a session, whose "
            "fixed image has no centre of mass yet, got 'mass'."
        )
    if config.align.mode in _NEED_LABELS and initial == "config" and not labeled:
        raise ValueError(
            f"moving: expected PairFiles with labels, by which the run aligns "
            f"({config.align.mode}), got none. Or give initial: center, header or a "
            "file."
        )
    steps = config.dataset.intensity.fixed if config.dataset.intensity else ()
    if has_range and steps and steps[-1].name == "z_score":
        raise ValueError(
            "intensity_range: expected none for a run whose dataset.intensity ends in "
            "z_score: its network knows images of mean 0, not in [0, 1]."
        )


def warn_of_places(case: Case, mode: str = "affine") -> None:
    """
    Say what a user might not expect of where the images lie.

    Files that do not state it: programs differ in what they do. Axes that point
    different ways, where the alignment does not look at them: one image is mirrored or
    turned against the other. A fixed image that the network's grid does not cover:
    beyond it the field goes on as at its border.

    :param case: the pair.
    :param mode: of its alignment, of `align`.
    """
    for source in (case.fixed_source, case.moving_source):
        if not source.has_orientation and source.layout != "picture":
            logger.warning(
                "%s: its header states no place in space (qform and sform codes 0). It "
                "is placed by nibabel's rule; ITK has another one, so that the "
                "transform may not fit this file in other programs.",
                source.path,
            )
        if source.forms_apart:
            logger.warning("%s", say_of_forms(source.path, source.forms_apart))
    if mode != "affine":
        _warn_of_axes(case, mode)
    outside = 1 - case.fixed_source.grid.overlap(case.fixed_grid)
    if outside > 0.01:
        logger.warning(
            "%s: %.0f %% of the fixed image lie outside the network's grid, %s voxels. "
            "The network does not see them: there the field is that of the border.",
            case.fixed_source.path,
            100 * outside,
            " x ".join(map(str, case.fixed_grid.shape)),
        )


def _warn_of_axes(case: Case, mode: str) -> None:
    """Say how the axes of two files differ, where an alignment lays them parallel."""
    sources = case.fixed_source, case.moving_source
    if not all(source.has_orientation for source in sources):
        return
    paths = [source.path for source in sources]
    axes = case.fixed_grid.orientation, case.moving_grid.orientation
    if axes[0] != axes[1]:
        logger.warning(
            "%s and %s: the axes point to %s and to %s, and the initial alignment "
            "(%s) lays them parallel as they are stored. Store both alike, or use "
            "`dataset.grid.orientation`, `align: affine` or `--initial header`.",
            *(*paths, *axes, mode),
        )
        return
    fixed, moving = (
        grid.affine[:3, :3] / grid.spacing_mm
        for grid in (case.fixed_grid, case.moving_grid)
    )
    cosine = (np.trace(fixed.T @ moving) - 1) / 2
    angle = np.rad2deg(np.arccos(np.clip(cosine, -1, 1)))
    if angle > _PARALLEL_DEG:
        logger.warning(
            "%s and %s: by their headers one image is turned by %.0f degrees against "
            "the other, and the initial alignment (%s) lays their axes parallel. Where "
            "the headers can be trusted, `align: affine` or `--initial header` "
            "follows them.",
            *(*paths, angle, mode),
        )


def warn_of_landmarks(landmarks: Sequence[Landmarks | None]) -> None:
    """
    Say which landmarks have no partner of the same name, so that they are not scored.

    :param landmarks: of the fixed and of the moving image; None for no file.
    """
    if landmarks[0] is None or landmarks[1] is None:
        return
    alone = sorted(set(landmarks[0].names) ^ set(landmarks[1].names))
    if alone:
        logger.warning(
            "Landmarks are scored by name; in one image alone: %s.", ", ".join(alone)
        )


def check_masks_meet(case: Case, result: CaseResult) -> None:
    """
    Refuse masks that leave the loss nothing to look at.

    :param case: the pair.
    :param result: of its registration.
    :raises ValueError: when the initial alignment brings no voxels together.
    """
    if case.moving_mask is not None and np.isinf(result.outputs["losses"][0]):
        raise ValueError(
            "--moving-mask: expected some voxels of the fixed mask to lie in the "
            "moving mask before the network moves anything, got none. Check the masks, "
            "or the initial alignment (--initial)."
        )


def _initial_affine(initial: str, sides: Sequence[PairFiles]) -> NDArray:
    """Return the map from fixed to moving space that --initial names, (4, 4)."""
    if initial == "header":
        return np.eye(4)
    if initial == "mass":
        fixed, moving = (read_volume(Path(side.image)) for side in sides)
        return centre_of_mass_affine(fixed, moving).matrix
    matrix = load_transform(initial).matrix
    if matrix is None:
        raise GeometryError(
            f"--initial: {initial}: expected an affine transform, got a field. Compose "
            "it with the result by deepreg_warp instead."
        )
    return matrix


def shown_case(case: Case, initial: str, sides: Sequence[PairFiles]) -> Case:
    """
    Return the case with the moving image where the initial transform lays it.

    The model aligns by the affines then; the transform that comes out is expressed with
    the true ones.

    :param case: the pair.
    :param initial: as for `Registrar.register`.
    :param sides: files of the fixed and of the moving side.
    :raises GeometryError: when the images do not overlap so, or for a file that holds
        no affine transform.
    """
    if initial in ("config", "center"):
        return case
    matrix = _initial_affine(initial, sides)
    check_overlap(
        case.moving_source.grid,
        case.fixed_source.grid,
        Transform((Affine(matrix),)),
        (str(sides[1].image), str(sides[0].image)),
    )
    return replace(case, moving_affine=np.linalg.inv(matrix) @ case.moving_affine)
