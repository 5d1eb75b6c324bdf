"""Local normalised cross-correlation, by products with one small matrix per axis."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from deepreg.registry import REGISTRY

from deepreg_meta.loss.checks import as_volume, check_alike, in_models_too
from deepreg_meta.loss.kernel import filter_along_axes, window_matrix

EPS = 1e-7  # as DeepReg's
LEAST_NOISE = 1e-5  # whose square can be divided by in float32, whatever windows weigh
ROUNDING = 16.0  # least variance that is none of rounding, in epsilons of the squares
KERNEL_TYPES = ("rectangular", "triangular", "gaussian")


def window_profile(kernel_size: int, kernel_type: str) -> np.ndarray:
    """
    Return the weights of a window along one axis, at most 1.

    :param kernel_size: number of voxels.
    :param kernel_type: rectangular: all alike; triangular: rising in equal steps up to
        the middle; gaussian: standard deviation kernel_size / 3.
    :return: symmetric, shape = (kernel_size,).
    """
    index = np.arange(kernel_size)
    if kernel_type == "triangular":
        rise = np.minimum(index, index[::-1]) + 1.0
        return rise / rise.max()
    if kernel_type == "gaussian":
        distance = (index - (kernel_size - 1) / 2) / (kernel_size / 3)
        return np.exp(-0.5 * distance**2)
    return np.ones(kernel_size)


def _variance(
    square: tf.Tensor, total: tf.Tensor, weight: tf.Tensor | float
) -> tf.Tensor:
    """
    Return sums of squared deviations from the mean, 0 where they are only rounding.

    :param square: sums of squares, any shape.
    :param total: sums, same shape.
    :param weight: what the sums of ones are.
    """
    variance = square - tf.square(total) / weight
    rounding = ROUNDING * np.finfo(square.dtype.as_numpy_dtype).eps
    # asked this way round, what is no number stays none, and is seen in the loss
    return tf.where(variance <= rounding * square, tf.zeros_like(variance), variance)


class NccTarget(NamedTuple):
    """What the loss needs of the fixed image t, with W the sum over each window."""

    image: tf.Tensor  # t, (batch, d1, d2, d3)
    total: tf.Tensor  # W t, same shape
    variance: tf.Tensor  # W t^2 - (W t)^2 / W 1, same shape, 0 where that is rounding
    # W 1 within a mask, same shape or (1, d1, d2, d3); None without one: a number
    weight: tf.Tensor | None = None


@REGISTRY.register_loss(name="local_ncc")
class LocalNcc:
    """
    Negative squared normalised cross-correlation in windows, averaged over them.

    Source: Avants et al., Med. Image Anal. 12, 2008. Equal to DeepReg's `lncc` with
    rectangular windows on volumes: there are zeros around the volume, and windows that
    see nothing are perfect. Where DeepReg's is wrong, this is not: no window reaches
    along a singleton axis (DeepReg takes a mean of kernel_size^2 voxels over
    kernel_size^3); a mean in a triangular or gaussian window is over the sum of the
    weights (DeepReg takes that of their squares, and some of its triangles lie beside
    the middle); a window of one grey value in the fixed image is perfect, with no
    gradient (in DeepReg's its variance is what rounding leaves, also below zero), and
    one in the warped image alone is worth 0 (in DeepReg's it is perfect too: fields
    that move everything out of the image are the best).

    A correlation knows no contrast: the faintest one is worth as much as the image's.
    At the edges of areas of one grey value, as padding is, a displacement of a
    thousandth of a voxel makes windows jump from 0 to well above, with gradients a
    thousand times those of all others, which training then follows. With noise of the
    variance s^2 in both images, a window where they have the covariance C and the
    variances T and P is worth

        (C^2 + s^4) / ((T + s^2) (P + s^2)):

    the squared correlation where there is contrast well above the noise, 1 where there
    is none in either image, s^2 / (T + s^2) where there is none in one of them, and
    smooth in between. The constants are in the places of those of the structural
    similarity (Wang et al., IEEE Trans. Image Process. 13, 2004).

    Within a mask the statistics are those of its voxels alone; voxels around the volume
    count as before, so that a mask of ones changes nothing.

    Windows are summed axis by axis, each by a product with a band matrix: exactly zero
    over zeros, as differences of running sums are not.

    Example::

        loss = LocalNcc(kernel_size=9)
        target = loss.prepare(fixed_image)       # once per fixed image
        value = loss.evaluate(target, warped)    # once per gradient step
    """

    def __init__(
        self,
        kernel_size: int = 9,
        kernel_type: str = "rectangular",
        noise: float = 0.0,
        name: str = "local_ncc",
    ) -> None:
        """
        :param kernel_size: length of the windows in voxels, >= 2.
        :param kernel_type: rectangular, triangular or gaussian.
        :param noise: standard deviation, s above, in units of the intensities; 0 takes
            contrasts as they are.
        :param name: shown in logs.
        :raises ValueError: for another size or type, or impossible noise.
        """
        if not isinstance(kernel_size, int) or kernel_size < 2:
            raise ValueError(
                "train.loss.image.kernel_size: expected an integer >= 2, got "
                f"{kernel_size!r}."
            )
        if kernel_type not in KERNEL_TYPES:
            raise ValueError(
                "train.loss.image.kernel_type: expected one of "
                f"{', '.join(KERNEL_TYPES)}, got {kernel_type!r}."
            )
        is_number = isinstance(noise, (int, float)) and not isinstance(noise, bool)
        is_noise = is_number and (noise == 0 or LEAST_NOISE <= noise < math.inf)
        if not is_noise:
            raise ValueError(
                f"train.loss.image.noise: expected 0 or a number >= {LEAST_NOISE:g}, "
                f"got {noise!r}."
            )
        self.kernel_size, self.kernel_type = kernel_size, kernel_type
        self.noise, self.name = float(noise), name
        self._profile = window_profile(kernel_size, kernel_type)

    def get_config(self) -> dict:
        """Return the arguments that build an equal loss."""
        return dict(
            kernel_size=self.kernel_size,
            kernel_type=self.kernel_type,
            noise=self.noise,
            name=self.name,
        )

    def _matrices(self, volume: tf.Tensor) -> list[tf.Tensor]:
        """Return what sums a volume over the windows, one matrix per axis."""
        return [
            window_matrix(length, self._profile, volume.dtype)
            for length in volume.shape[1:4]
        ]

    def _sum(self, volume: tf.Tensor, matrices: list[tf.Tensor]) -> tf.Tensor:
        """Sum over windows, or back from them, in full precision on GPUs too."""
        is_exact = self.kernel_type == "rectangular"  # of ones
        return filter_along_axes(volume, matrices, is_precise=True, is_exact=is_exact)

    def _window_weight(self, volume: tf.Tensor) -> float:
        """Return the sum of the weights of one window, W 1 away from the border."""
        num_axes = sum(length > 1 for length in volume.shape[1:4])
        return float(self._profile.sum() ** num_axes)

    def _weight_within(self, mask: tf.Tensor) -> tf.Tensor:
        """Return what windows weigh: their part of the mask, and beyond the volume."""
        matrices, whole = self._matrices(mask), self._window_weight(mask)
        beyond = whole - self._sum(tf.ones_like(mask[:1]), matrices)
        # rounding would be much to a window that sees one voxel
        beyond = tf.where(beyond > 1e-5 * whole, beyond, tf.zeros_like(beyond))
        # of windows that see nothing all sums are 0: they are divided by anything else
        return tf.maximum(self._sum(mask, matrices) + beyond, EPS)

    def prepare(
        self, fixed_image: tf.Tensor, mask: tf.Tensor | None = None
    ) -> NccTarget:
        """
        Sum the fixed image and its square over the windows.

        :param fixed_image: shape = (batch, d1, d2, d3), static but for the batch.
        :param mask: 1 for the voxels that count, 0 for others, same shape and type or
            one for all, (1, d1, d2, d3); None for all voxels.
        :return: what `evaluate` needs.
        :raises ValueError: for what is no volume.
        """
        fixed_image = as_volume(fixed_image, "fixed image")
        matrices, weight = self._matrices(fixed_image), None
        if mask is not None:
            fixed_image, weight = fixed_image * mask, self._weight_within(mask)
        total = self._sum(fixed_image, matrices)
        square = self._sum(tf.square(fixed_image), matrices)
        own = self._window_weight(fixed_image) if weight is None else weight
        variance = _variance(square, total, own)
        return NccTarget(fixed_image, total, variance, weight)

    def evaluate(self, target: NccTarget, warped_image: tf.Tensor) -> tf.Tensor:
        """
        Return the loss of a warped image.

        :param target: from `prepare`.
        :param warped_image: shape = (batch, d1, d2, d3), 0 off the mask of `prepare`.
        :return: shape = (batch,), in [-1, 0] but for rounding.
        """
        weight = target.weight
        if weight is None:
            weight = self._window_weight(warped_image)
        matrices = self._matrices(warped_image)
        floor = weight * self.noise**2  # of sums of squares, as the variances are

        # DeepReg's formula, t fixed, p warped. The gradient is written out: like the
        # value it costs three sums over windows, and little is kept for it.
        @tf.custom_gradient
        def correlation(
            t: tf.Tensor, t_sum: tf.Tensor, t_var: tf.Tensor, p: tf.Tensor
        ) -> tuple[tf.Tensor, Callable]:
            stacked = tf.concat([p, p * p, t * p], axis=0)
            p_sum, p2_sum, tp_sum = tf.split(self._sum(stacked, matrices), 3)
            p_var = _variance(p2_sum, p_sum, weight)
            t_own, p_own = t_var + floor, p_var + floor
            product = t_own * p_own
            cross = tp_sum - p_sum * t_sum / weight
            if self.noise:
                squared = (cross * cross + floor * floor) / product
            else:
                cross = tf.where(product <= 0.0, tf.zeros_like(cross), cross)
                product += EPS
                # a window of one grey value in both images is perfect; one of the
                # warped image alone is worth nothing, or a network would win by moving
                # everything out of the image
                lost = tf.logical_and(p_var <= 0.0, t_var > 0.0)
                rest = EPS * tf.cast(tf.logical_not(lost), p.dtype)
                squared = (cross * cross + rest) / product

            def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
                share = upstream[:, None, None, None] / t[0].shape.num_elements()
                by_cross = share * 2.0 * cross / product
                by_product = -share * squared / product
                by_p_var = tf.where(p_var > 0.0, by_product * t_own, 0.0)
                by_p_sum = -(by_cross * t_sum + 2.0 * by_p_var * p_sum) / weight
                by_sums = tf.concat([by_p_sum, by_p_var, by_cross], axis=0)
                back = [tf.transpose(matrix) for matrix in matrices]
                a, b, c = tf.split(self._sum(by_sums, back), 3)
                by_t_sum = -by_cross * p_sum / weight
                return p * c, by_t_sum, by_product * p_own, a + 2.0 * p * b + t * c

            # plane by plane: a sum over a whole volume loses digits in float32
            return tf.reduce_mean(tf.reduce_mean(squared, [2, 3]), 1), gradient

        return -correlation(*target[:3], warped_image)

    @in_models_too
    def __call__(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """
        Return the loss summed over the batch, DeepReg's convention for image losses.

        :param y_true: fixed image, shape = (batch, d1, d2, d3).
        :param y_pred: warped image, shape = (batch, d1, d2, d3).
        :return: scalar.
        :raises ValueError: for what is no volume, or different shapes or types.
        """
        y_true, y_pred = as_volume(y_true, "y_true"), as_volume(y_pred, "y_pred")
        check_alike(y_true, y_pred)
        return tf.reduce_sum(self.evaluate(self.prepare(y_true), y_pred))

    def sees(self, mask: tf.Tensor) -> tf.Tensor:
        """
        Return 1 for every window that sees some of a mask.

        :param mask: 1 or 0, shape = (batch, d1, d2, d3).
        :return: same shape, at the middles of the windows.
        """
        support = np.ones(self.kernel_size)
        matrices = [window_matrix(n, support, mask.dtype) for n in mask.shape[1:4]]
        return tf.cast(filter_along_axes(mask, matrices) > 0.5, mask.dtype)
