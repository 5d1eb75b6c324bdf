"""Multi-scale soft Dice that filters the fixed label once and the warped one never."""

import numbers
from typing import NamedTuple

import tensorflow as tf
from deepreg.registry import REGISTRY

from deepreg_meta.loss.checks import as_volume, check_alike
from deepreg_meta.loss.kernel import filter_along_axes, gaussian_matrix

EPS = 1e-7  # as DeepReg's, so that both agree on empty labels too


class DiceTarget(NamedTuple):
    """
    What the loss needs of the fixed label a, per scale with filter G and mask m.

    `overlap` is G G (m a), `fixed_sum` is <G 1, m a>, so that soft Dice of a warped
    label b is 2 <overlap, m b> / (fixed_sum + <G 1, m b>). G 1 falls into a product of
    one factor for the plane and one along the first axis.
    """

    overlap: tf.Tensor  # (batch, d1, num_scales, d2 * d3), a plane's scales together
    fixed_sum: tf.Tensor  # (batch, num_scales)
    plane: tf.Tensor  # (1 or batch, d2 * d3, num_scales)
    along: tf.Tensor  # (1 or batch, d1, num_scales)
    mask: tf.Tensor | None  # (batch, d1, d2, d3), None for all voxels


@REGISTRY.register_loss(name="multi_scale_dice")
class MultiScaleDice:
    """
    Negative soft Dice of Gaussian-filtered labels, averaged over scales.

    Source: Hu et al., Med. Image Anal. 49, 2018; Baum et al., IEEE TMI 2022, eq. 11.
    Equal to DeepReg's `dice` with `scales` in value and gradient. It costs one product
    per scale, because the filter is symmetric: <G a, G b> = <G G a, b>, and less for
    the sums, because a filtered volume of ones is a product of three profiles.

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
        :raises ValueError: for anything but numbers, none of them negative or
            infinite, or another value of `in_voxels`.
        """
        is_list = isinstance(sigmas_mm, (list, tuple)) and len(sigmas_mm) > 0
        if not is_list or not all(_is_sigma(sigma) for sigma in sigmas_mm):
            raise ValueError(
                "train.loss.label.sigmas_mm: expected one or more numbers >= 0, got "
                f"{sigmas_mm!r}."
            )
        if not isinstance(in_voxels, bool):
            raise ValueError(
                "train.loss.label.in_voxels: expected true or false, got "
                f"{in_voxels!r}."
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
        :raises ValueError: for what is no volume.
        """
        fixed_label = as_volume(fixed_label, "fixed label")
        label = fixed_label if mask is None else fixed_label * mask
        d1, d2, d3 = size = fixed_label.shape[1:4]
        overlaps, planes, alongs = [], [], []
        for sigma_mm in self.sigmas_mm:
            matrices = self._matrices(sigma_mm, size, spacing_mm, label.dtype)
            overlap = label
            if sigma_mm > 0:
                twice = [tf.matmul(matrix, matrix) for matrix in matrices]
                overlap = filter_along_axes(label, twice)
            overlaps.append(tf.reshape(overlap, [-1, d1, d2 * d3]))
            sums = [tf.reduce_sum(matrix, axis=1) for matrix in matrices]
            planes.append(tf.reshape(sums[1][:, None] * sums[2], [1, d2 * d3]))
            alongs.append(sums[0][None])
        plane, along = tf.stack(planes, axis=2), tf.stack(alongs, axis=2)
        return DiceTarget(
            overlap=tf.stack(overlaps, axis=2),
            fixed_sum=_filtered_sum(label, plane, along),
            plane=plane,
            along=along,
            mask=mask,
        )

    def _matrices(
        self,
        sigma_mm: float,
        size: tf.TensorShape,
        spacing_mm: tf.Tensor | None,
        dtype: tf.DType,
    ) -> list[tf.Tensor]:
        """Return the filters of one scale along the axes."""
        sigmas: list[tf.Tensor | float] = [sigma_mm] * 3
        if spacing_mm is not None and not self.in_voxels:
            sigmas = [sigma_mm / spacing_mm[axis] for axis in range(3)]
        return [
            tf.eye(length, dtype=dtype)
            if sigma_mm == 0
            else gaussian_matrix(length, sigma, dtype)
            for length, sigma in zip(size, sigmas, strict=True)
        ]

    def evaluate(self, target: DiceTarget, warped_label: tf.Tensor) -> tf.Tensor:
        """
        Return the loss of a warped label.

        :param target: from `prepare`.
        :param warped_label: shape = (batch, d1, d2, d3).
        :return: shape = (batch,), in [-1, 0].
        """
        if target.mask is not None:
            warped_label = warped_label * target.mask
        _, d1, _, plane_size = target.overlap.shape
        # plane by plane: a sum over a whole volume loses digits in float32
        planes = tf.reshape(warped_label, [-1, d1, plane_size, 1])
        product = tf.reduce_sum(tf.matmul(target.overlap, planes)[..., 0], axis=1)
        warped_sum = _filtered_sum(warped_label, target.plane, target.along)
        total = target.fixed_sum + warped_sum
        product, total = product / (d1 * plane_size), total / (d1 * plane_size)
        return -tf.reduce_mean((2.0 * product + EPS) / (total + EPS), axis=1)

    def __call__(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """
        Return the loss summed over the batch, DeepReg's convention for label losses.

        :param y_true: fixed label, shape = (batch, d1, d2, d3).
        :param y_pred: warped label, shape = (batch, d1, d2, d3).
        :return: scalar.
        :raises ValueError: for what is no volume, or different shapes or types.
        """
        y_true, y_pred = as_volume(y_true, "y_true"), as_volume(y_pred, "y_pred")
        check_alike(y_true, y_pred)
        return tf.reduce_sum(self.evaluate(self.prepare(y_true), y_pred))


def _is_sigma(value: object) -> bool:
    """Whether a value is a standard deviation."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return False
    return 0 <= float(value) < float("inf")


def _filtered_sum(label: tf.Tensor, plane: tf.Tensor, along: tf.Tensor) -> tf.Tensor:
    """
    Return the sum over a filtered label, without filtering it: <1, G b> = <G 1, b>.

    :param label: b, shape = (batch, d1, d2, d3).
    :param plane: G 1 in a plane, shape = (1 or batch, d2 * d3, num_scales).
    :param along: G 1 along the first axis, shape = (1 or batch, d1, num_scales).
    :return: shape = (batch, num_scales).
    """
    if plane.shape[0] == 1:  # voxels of one size
        rows = tf.reshape(label, [-1, plane.shape[1]])
        sums = tf.reshape(tf.matmul(rows, plane[0]), [-1, *along.shape[1:]])
    else:
        rows = tf.reshape(label, [-1, along.shape[1], plane.shape[1]])
        sums = tf.matmul(rows, plane)
    return tf.reduce_sum(sums * along, axis=1)
