"""Multi-scale soft Dice that filters the fixed label once and the warped one never."""

from typing import NamedTuple

import tensorflow as tf
from deepreg.registry import REGISTRY

EPS = 1e-7  # as DeepReg's, so that both agree on empty labels too


def gaussian_matrix(length: int, sigma_vox: tf.Tensor | float) -> tf.Tensor:
    """
    Return the matrix that filters along one axis with a zero-padded Gaussian.

    The kernel is DeepReg's `gaussian_kernel1d`: cut at int(3 sigma), then normalised.
    As a matrix it costs one small product per axis, whatever sigma is.

    :param length: number of voxels along the axis.
    :param sigma_vox: standard deviation in voxels, scalar >= 0; 0 is no filtering, and
        so is a singleton axis.
    :return: symmetric, shape = (length, length).
    """
    if length == 1:
        return tf.ones([1, 1])
    sigma = tf.maximum(tf.cast(sigma_vox, tf.float32), 1e-6)
    tail = tf.floor(3.0 * sigma)
    support = tf.range(-tail, tail + 1.0)
    total = tf.reduce_sum(tf.exp(-0.5 * (support / sigma) ** 2))
    index = tf.range(length, dtype=tf.float32)
    distance = tf.abs(index[:, None] - index[None, :])
    kernel = tf.exp(-0.5 * (distance / sigma) ** 2)
    return tf.where(distance <= tail, kernel, 0.0) / total


def filter_along_axes(volume: tf.Tensor, matrices: list[tf.Tensor]) -> tf.Tensor:
    """
    Apply one matrix along each spatial axis.

    :param volume: shape = (batch, d1, d2, d3).
    :param matrices: symmetric, shapes (d1, d1), (d2, d2), (d3, d3).
    :return: shape = (batch, d1, d2, d3).
    """
    shape = tf.shape(volume)
    filtered = tf.matmul(volume, matrices[2])  # along d3
    filtered = tf.matmul(matrices[1], filtered)  # along d2
    flat = tf.reshape(filtered, [shape[0], shape[1], -1])
    return tf.reshape(tf.matmul(matrices[0], flat), shape)  # along d1


class DiceTarget(NamedTuple):
    """
    What the loss needs of the fixed label a, per scale with filter G and mask m.

    `overlap` is m G G (m a), `fixed_sum` is <1, G (m a)>, `weight` is m G 1, so that
    soft Dice of a warped label b is 2 <overlap, b> / (fixed_sum + <weight, b>).
    """

    overlap: tf.Tensor  # (batch, num_scales, num_voxels)
    fixed_sum: tf.Tensor  # (batch, num_scales)
    weight: tf.Tensor  # (batch or 1, num_scales, num_voxels)


@REGISTRY.register_loss(name="multi_scale_dice")
class MultiScaleDice:
    """
    Negative soft Dice of Gaussian-filtered labels, averaged over scales.

    Source: Hu et al., Med. Image Anal. 49, 2018; Baum et al., IEEE TMI 2022, eq. 11.
    Equal to DeepReg's `dice` with `scales` in value and gradient. It costs two dot
    products per scale because the filter is symmetric: <G a, G b> = <G G a, b>.

    Example::

        loss = MultiScaleDice(sigmas_mm=[0, 1, 2, 4])
        target = loss.prepare(fixed_label)       # once per fixed label and mask
        value = loss.evaluate(target, warped)    # once per gradient step
    """

    def __init__(
        self,
        sigmas_mm: list[float] | tuple[float, ...] = (0, 1, 2, 4, 8, 16, 32),
        in_voxels: bool = False,
        name: str = "multi_scale_dice",
    ) -> None:
        """
        :param sigmas_mm: standard deviations in mm (voxels where the spacing is 1),
            each >= 0; 0 is the plain soft Dice.
        :param in_voxels: take them as voxels under any spacing, as DeepReg's scales.
        :param name: shown in logs.
        :raises ValueError: for an empty list or a negative value.
        """
        if len(sigmas_mm) == 0 or min(sigmas_mm) < 0:
            raise ValueError(
                "loss.label.sigmas_mm: expected one or more numbers >= 0, got "
                f"{list(sigmas_mm)}."
            )
        self.sigmas_mm = tuple(float(sigma) for sigma in sigmas_mm)
        self.in_voxels = in_voxels
        self.name = name

    def get_config(self) -> dict:
        """Return the arguments that build an equal loss."""
        return dict(
            sigmas_mm=list(self.sigmas_mm), in_voxels=self.in_voxels, name=self.name
        )

    def prepare(
        self,
        fixed_label: tf.Tensor,
        mask: tf.Tensor | None = None,
        spacing_mm: tf.Tensor | None = None,
    ) -> DiceTarget:
        """
        Filter the fixed label at every scale.

        :param fixed_label: shape = (batch, d1, d2, d3), values in [0, 1].
        :param mask: the voxels that count, same shape or None for all.
        :param spacing_mm: voxel size of the fixed grid, shape = (3,), or None for 1 mm.
        :return: what `evaluate` needs.
        """
        spacing = spacing_mm
        if spacing is None or self.in_voxels:
            spacing = tf.ones([3])
        size = fixed_label.shape[1:4]
        ones = tf.ones_like(fixed_label[:1]) if mask is None else mask
        label = fixed_label if mask is None else fixed_label * mask
        overlaps, sums, weights = [], [], []
        for sigma_mm in self.sigmas_mm:
            if sigma_mm == 0:
                overlap, weight = label, ones
            else:
                once = [
                    gaussian_matrix(size[i], sigma_mm / spacing[i]) for i in (0, 1, 2)
                ]
                twice = [tf.matmul(matrix, matrix) for matrix in once]
                overlap = filter_along_axes(label, twice) * ones
                weight = filter_along_axes(tf.ones_like(ones), once) * ones
            overlaps.append(overlap)
            weights.append(weight)
            sums.append(tf.reduce_sum(weight * fixed_label, axis=[1, 2, 3]))
        num_scales, num_voxels = len(self.sigmas_mm), size.num_elements()
        return DiceTarget(
            overlap=tf.reshape(
                tf.stack(overlaps, axis=1), [-1, num_scales, num_voxels]
            ),
            fixed_sum=tf.stack(sums, axis=1),
            weight=tf.reshape(tf.stack(weights, axis=1), [-1, num_scales, num_voxels]),
        )

    def evaluate(self, target: DiceTarget, warped_label: tf.Tensor) -> tf.Tensor:
        """
        Return the loss of a warped label.

        :param target: from `prepare`.
        :param warped_label: shape = (batch, d1, d2, d3).
        :return: shape = (batch,), in [-1, 0].
        """
        num_voxels = target.overlap.shape[-1]
        warped = tf.reshape(warped_label, [-1, num_voxels, 1])
        product = tf.matmul(target.overlap, warped)[..., 0] / num_voxels
        warped_sum = tf.matmul(target.weight, warped)[..., 0]
        total = (target.fixed_sum + warped_sum) / num_voxels
        return -tf.reduce_mean((2.0 * product + EPS) / (total + EPS), axis=1)

    def __call__(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """
        Return the loss summed over the batch, DeepReg's convention for label losses.

        :param y_true: fixed label, shape = (batch, d1, d2, d3).
        :param y_pred: warped label, shape = (batch, d1, d2, d3).
        :return: scalar.
        """
        return tf.reduce_sum(self.evaluate(self.prepare(y_true), y_pred))
