"""
The losses of the fields that a network has besides its finest one.

Sources: Li and Fan, ISBI 2018 (arXiv:1801.04012), deep self-supervision by the images;
Zhu et al., ICRA 2021, section II-D, a network and a loss for each scale.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from deepreg_meta.loss.kernel import filter_along_axes
from deepreg_meta.model.registration import Batch, MovingMask, RegistrationLoss

_HALF = 0.5


def averaging_matrix(length: int, factor: int) -> tf.Tensor:
    """
    Return the matrix that averages voxels along one axis in cells of equal length.

    :param length: number of voxels along the axis.
    :param factor: voxels of a cell, >= 1; the last cell may hold fewer.
    :return: float32, shape = (ceil(length / factor), length), rows that sum to 1.
    """
    cells = np.arange(length) // factor
    matrix = (cells == np.arange(cells[-1] + 1)[:, None]).astype(np.float32)
    return tf.constant(matrix / matrix.sum(axis=1, keepdims=True))


def _factors(size: Sequence[int], factor: int) -> list[int]:
    """Return how many voxels along each axis become one; singletons stay."""
    return [1 if length == 1 else factor for length in size]


def _average(volume: tf.Tensor, factor: int) -> tf.Tensor:
    """
    Average a volume in cells.

    :param volume: shape = (batch, d1, d2, d3).
    :param factor: voxels of a cell along each axis that is no singleton.
    :return: shape = (batch, ceil(d1 / factor), ...).
    """
    size = volume.shape[1:4]
    factors = _factors(size, factor)
    pairs = zip(size, factors, strict=True)
    return filter_along_axes(volume, [averaging_matrix(*pair) for pair in pairs])


def coarse_batch(batch: Batch, factor: int) -> Batch:
    """
    Bring a mini-batch to a coarser grid, the moving side too.

    Voxel c of an axis of the coarser grid is the cell of the voxels factor * c up to
    factor * (c + 1) of the finer one, with its middle at factor * (c + 1/2) - 1/2.

    :param batch: on the network's grids.
    :param factor: voxels along each axis that become one.
    :return: without labels.
    """
    fixed = _average(batch.fixed_input, factor)
    frames = batch.loss_mask if batch.shown is None else batch.shown
    if frames is not None:  # off them the fixed image is 0: means of what they show
        fixed = tf.math.divide_no_nan(fixed, _average(frames, factor))
    moving = _average(batch.moving_image, factor)
    of_fixed = tf.constant(
        _factors(batch.fixed_input.shape[1:4], factor), batch.matrix.dtype
    )
    of_moving = tf.constant(
        _factors(batch.moving_image.shape[1:4], factor), batch.matrix.dtype
    )
    # fine fixed voxel x = w c + (w - 1) / 2, fine moving voxel y = A x + t, coarse
    # moving voxel (y + 1/2) / v - 1/2
    matrix = batch.matrix * of_fixed / of_moving[:, None]
    middle = tf.linalg.matvec(batch.matrix, _HALF * (of_fixed - 1.0)) + batch.offset
    offset = (middle + _HALF) / of_moving - _HALF

    def as_mask(mask: tf.Tensor | None) -> tf.Tensor | None:
        if mask is None:
            return None
        return tf.cast(_average(mask, factor) >= _HALF, mask.dtype)

    moving_mask = batch.moving_mask
    if moving_mask is not None:
        moving_mask = MovingMask(
            as_mask(moving_mask.mask), moving_mask.fixed_label, moving_mask.spacing_mm
        )
    base = batch.base
    if base is not None:  # its displacements, in voxels of the coarser grid
        parts = [_average(part, factor) for part in tf.unstack(base, axis=-1)]
        base = tf.stack(parts, axis=-1) / of_fixed
    return batch._replace(
        moving_input=fixed,  # what predicts has been called
        fixed_input=fixed,
        matrix=matrix,
        offset=offset,
        moving_image=moving,
        loss_mask=as_mask(batch.loss_mask),
        shown=as_mask(batch.shown),
        moving_mask=moving_mask,
        image_target=None,
        base=base,
    )


class ScaleLoss:
    """The losses of the fields of the coarser scales, each on the full grid."""

    def __init__(self, loss: RegistrationLoss) -> None:
        """
        :param loss: of the finest field, and of each of the others.
        """
        self._loss = loss

    def __call__(self, fields: Sequence[tf.Tensor], batch: Batch) -> tf.Tensor:
        """
        Return the sum.

        :param fields: shape = (batch, f1, f2, f3, 3), in voxels of the full grid.
        :param batch: on the network's grids.
        :return: scalar.
        """
        return tf.add_n([self._loss.compute(x, batch)["total"] for x in fields])


class SideLoss:
    """
    The weighted losses of all coarser fields of a network, each on its own grid.

    A field is judged by the image loss and the regularisation; labels take no part.
    """

    def __init__(
        self, loss: RegistrationLoss, weights: Sequence[float], size: Sequence[int]
    ) -> None:
        """
        :param loss: of the finest field.
        :param weights: of the losses of the coarser fields, finest of them first; that
            of index i has voxels of 2^(i + 1).
        :param size: grid of the finest field, (f1, f2, f3).
        :raises ValueError: without an image loss, or where a coarser field is too small
            for the regularisation.
        """
        self._loss, self._weights = loss.without_label(), tuple(weights)
        if not self._loss.uses_image:
            raise ValueError(
                "train.loss.image: expected an image loss with a backbone whose "
                "coarser fields are supervised by the images, got none."
            )
        for power in range(1, len(self._weights) + 1):
            self._check_grid(size, 2**power)

    def _check_grid(self, size: Sequence[int], factor: int) -> None:
        """Refuse a grid whose coarser ones the regularisation cannot take."""
        factors = _factors(size, factor)
        coarse = [-(-n // f) for n, f in zip(size, factors, strict=True)]
        try:
            self._loss.check_grid(coarse)
        except ValueError as err:
            raise ValueError(
                "train.backbone: expected a larger grid than "
                f"{' x '.join(map(str, size))} for its fields at several resolutions; "
                f"at {' x '.join(map(str, coarse))}: {err}"
            ) from err

    def __call__(self, fields: Sequence[tf.Tensor], batch: Batch) -> tf.Tensor:
        """
        Return the weighted sum.

        :param fields: finest of the coarser ones first, shape = (batch, ceil(f1 / 2^i),
            ceil(f2 / 2^i), ceil(f3 / 2^i), 3), in their own voxels.
        :param batch: on the network's grids.
        :return: scalar.
        """
        totals, factor = [], 1
        for weight, field in zip(self._weights, fields, strict=True):
            factor *= 2
            parts = self._loss.compute(field, coarse_batch(batch, factor))
            totals.append(weight * parts["total"])
        return tf.add_n(totals)
