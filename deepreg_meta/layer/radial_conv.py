"""The meta-regularisation layer: a trainable convolution of displacement fields."""

import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import tensorflow as tf

from deepreg_meta.layer.radial_filter import (
    BORDERS,
    convolve,
    filter_field,
)
from deepreg_meta.layer.radial_kernel import (
    PARAMETERIZATIONS,
    dense_kernel,
    initial_weights,
)
from deepreg_meta.layer.radial_penalty import PenaltyParts, penalty_parts

DEFAULT_SIZES = {2: 13, 3: 7}  # of the kernel; the source has 13 x 13
# Up to these the matrix that lays the weights of a kernel out on its taps, of which
# every form but the free one needs it, takes 100 MB at most; it grows with the fourth
# power of the size in 2-D and with the fifth in 3-D.
MAX_SIZES = {2: 63, 3: 31}
# The middles of the grids from which the source chooses, where the property is not one
# by construction: of the symmetry, and of a trace that is not negative.
DEFAULT_RHO1 = {"penalty": 10.0, "cholesky": 10.0}
DEFAULT_RHO2 = {"penalty": 1e-3, "radial": 1e-3}
# Arguments of the layer that are none of Keras's.
OPTIONS = (
    *("parameterization", "kernel_size", "border", "rho1", "rho2", "diagonal_l1"),
    *("trace_limit", "initial_sigma_vox"),
)


class RadialConv(tf.keras.layers.Layer):
    """
    Convolve each component of a displacement field with one trainable kernel K.

    K starts as a narrow Gaussian. What is known of kernels that regularise is asked for
    by a penalty, or given by the form of K (`dense_kernel`). The penalty is

        M(K) = rho1 S(K) - rho2 min(T(K), trace_limit) + diagonal_l1 D(K),

    with S the deviation from symmetry, T the sum over the diagonals, and D the sum of
    the magnitudes on the main one (`penalty_parts`). Without limit and D that is the
    source's. Its part with T is linear and has no lower bound: a network that scales
    its field down can let K grow for nothing else. So watch the trace, or set a limit:
    0 asks for a trace that is not negative, and for no more.

    Along a singleton axis nothing is convolved, and the component along it is left as
    it is. Keras adds M(K) to the loss of a model that holds the layer.

    Source: Al Safadi and Song, CVPR 2021, sections 4.2 and 4.3, equation 12.

    Example::

        layer = RadialConv("separable", kernel_size=13)
        smooth = layer(ddf)      # (batch, d1, d2, 1, 3)
        layer.kernel()           # (13, 13)
    """

    def __init__(
        self,
        parameterization: str = "penalty",
        kernel_size: int | None = None,
        border: str = "edge",
        rho1: float | None = None,
        rho2: float | None = None,
        diagonal_l1: float = 0.0,
        trace_limit: float | None = None,
        initial_sigma_vox: float = 0.4,
        **kwargs: object,
    ) -> None:
        """
        :param parameterization: penalty, cholesky (2-D alone), separable or radial.
        :param kernel_size: odd number of taps along each axis, in 2-D 3 to 63, in 3-D
            3 to 31; None is 13 in 2-D and 7 in 3-D.
        :param border: what lies beyond the border: edge, the displacement at it, so
            that a constant field stays one; zero, which shrinks fields near it.
        :param rho1: weight of the symmetry, >= 0; None is 10 for penalty and cholesky,
            0 for the others, which are symmetric in any case.
        :param rho2: weight of the traces, >= 0; None is 1e-3 for penalty and radial, 0
            for the others, whose tr K is never negative.
        :param diagonal_l1: weight of the magnitudes on the main diagonal, >= 0.
        :param trace_limit: a trace beyond it is rewarded no more; None sets no limit.
        :param initial_sigma_vox: of the Gaussian at the start, >= 0; 0 is the identity.
        :param kwargs: of a Keras layer. Computes in float32, whatever the precision of
            the layers around it is, unless `dtype` says otherwise.
        :raises ValueError: for an argument out of its range, named first.
        """
        super().__init__(**{"name": "radial_conv", "dtype": "float32", **kwargs})
        problems = option_problems(
            {
                "parameterization": parameterization,
                "kernel_size": kernel_size,
                "border": border,
                "rho1": rho1,
                "rho2": rho2,
                "diagonal_l1": diagonal_l1,
                "trace_limit": trace_limit,
                "initial_sigma_vox": initial_sigma_vox,
            }
        )
        if problems:
            raise ValueError(problems[0])
        self.parameterization, self.border = parameterization, border
        # an integer once the grid is known
        self.kernel_size: Any = None if kernel_size is None else int(kernel_size)
        self.trace_limit = None if trace_limit is None else float(trace_limit)
        rho1 = DEFAULT_RHO1.get(parameterization, 0.0) if rho1 is None else rho1
        rho2 = DEFAULT_RHO2.get(parameterization, 0.0) if rho2 is None else rho2
        self.rho1, self.rho2 = float(rho1), float(rho2)
        self.diagonal_l1 = float(diagonal_l1)
        self.initial_sigma_vox = float(initial_sigma_vox)
        self._axes: tuple[int, ...] = ()  # along which fields are convolved

    @property
    def has_penalty(self) -> bool:
        """Whether the penalty has a part that counts."""
        return any(weight > 0 for weight in (self.rho1, self.rho2, self.diagonal_l1))

    def build(self, input_shape: tf.TensorShape) -> None:
        """
        Create the weights of the kernel.

        :param input_shape: (batch, d1, d2, d3, 3), static but for the batch.
        :raises ValueError: for another shape, fewer than two axes to convolve along, a
            parameterization that volumes have not, or a kernel that is too large.
        """
        shape = tf.TensorShape(input_shape)
        if shape.rank != 5 or shape[4] != 3 or not shape[1:].is_fully_defined():
            raise ValueError(
                f"{self.name}: expected a field (batch, d1, d2, d3, 3), got {shape}."
            )
        self._axes = tuple(axis for axis in range(3) if shape[axis + 1] > 1)
        if len(self._axes) < 2:
            raise ValueError(
                "kernel_size: expected a field with several voxels along two axes or "
                f"three, which a kernel can be square on, got shape {shape}."
            )
        if self.parameterization == "cholesky" and len(self._axes) == 3:
            raise ValueError(
                "parameterization: expected penalty, separable or radial for volumes, "
                "got 'cholesky', which takes the kernel of an image for a matrix."
            )
        if self.kernel_size is None:
            self.kernel_size = DEFAULT_SIZES[len(self._axes)]
        most = MAX_SIZES[len(self._axes)]
        if self.kernel_size > most:
            kind = "images" if len(self._axes) == 2 else "volumes"
            raise ValueError(
                f"kernel_size: expected an odd integer in [3, {most}] for {kind}, got "
                f"{self.kernel_size}."
            )
        values = initial_weights(
            self.parameterization,
            self.kernel_size,
            len(self._axes),
            self.initial_sigma_vox,
        )
        self.kernel_weights = self.add_weight(
            name="kernel",
            shape=values.shape,
            initializer=tf.constant_initializer(values),
        )
        if self.has_penalty:
            self.add_loss(self.penalty)  # a function: evaluated where losses are summed
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """
        Convolve a field.

        :param inputs: shape = (batch, d1, d2, d3, 3), in voxels.
        :return: as the inputs, float32.
        """
        if self.parameterization == "separable":
            return filter_field(inputs, self.kernel_weights, self._axes, self.border)
        fields = tf.transpose(inputs, [0, 4, 1, 2, 3])  # (batch, 3, d1, d2, d3)
        moving, still = fields, tf.unstack(fields, axis=1)
        if len(self._axes) == 2:
            moving = tf.stack([still[axis] for axis in self._axes], axis=1)
        lengths = [inputs.shape[1 + axis] for axis in self._axes]
        volumes = tf.reshape(moving, [-1, *lengths])
        volumes = convolve(volumes, self.kernel(), self.border)
        moving = tf.reshape(volumes, [-1, *moving.shape[1:]])
        if len(self._axes) == 2:
            for axis, moved in zip(self._axes, tf.unstack(moving, axis=1), strict=True):
                still[axis] = moved
            moving = tf.stack(still, axis=1)
        return tf.transpose(moving, [0, 2, 3, 4, 1])

    def kernel(self) -> tf.Tensor:
        """
        Return K, which the first call or `build` creates.

        :return: shape = (n, n) for images, (n, n, n) for volumes.
        """
        return dense_kernel(
            self.parameterization,
            self.kernel_weights,
            self.kernel_size,
            len(self._axes),
        )

    def penalty_parts(self) -> PenaltyParts:
        """Return the parts of M(K) without their weights, to be watched."""
        return penalty_parts(self.kernel())

    def penalty(self) -> tf.Tensor:
        """
        Return M(K).

        :return: scalar.
        """
        parts = self.penalty_parts()
        trace = parts.trace
        if self.trace_limit is not None:
            trace = tf.minimum(trace, tf.cast(self.trace_limit, trace.dtype))
        total = self.rho1 * parts.symmetry - self.rho2 * trace
        return total + self.diagonal_l1 * parts.diagonal_l1

    def get_config(self) -> dict:
        """Return the arguments that build an equal layer."""
        own = {name: getattr(self, name) for name in OPTIONS}
        return {**super().get_config(), **own}


def option_problems(options: Mapping[str, object]) -> list[str]:
    """
    Say what is wrong with options of the layer, whatever the grid.

    :param options: some of `OPTIONS`.
    :return: a line for each that is out of its range, which begins with its name.
    """
    rules = {
        "parameterization": (
            _one_of(PARAMETERIZATIONS),
            PARAMETERIZATIONS.__contains__,
        ),
        "kernel_size": ("null or an odd integer >= 3", _is_size),
        "border": (_one_of(BORDERS), BORDERS.__contains__),
        "rho1": ("null or a number >= 0", _is_weight_or_none),
        "rho2": ("null or a number >= 0", _is_weight_or_none),
        "diagonal_l1": ("a number >= 0", _is_weight),
        "trace_limit": ("null or a number", lambda x: x is None or _is_number(x)),
        "initial_sigma_vox": ("a number >= 0", _is_weight),
    }
    return [
        f"{name}: expected {rule}, got {options[name]!r}."
        for name, (rule, is_good) in rules.items()
        if name in options and not is_good(options[name])
    ]


def _one_of(choices: Sequence[str]) -> str:
    return f"one of {', '.join(choices)}"


def _is_size(value: Any) -> bool:
    """Return whether a kernel may be asked for: one with a middle and neighbours."""
    if value is None:
        return True
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    return is_whole and value >= 3 and value % 2 == 1


def _is_number(value: Any) -> bool:
    """Return whether a value is a finite number."""
    return (
        isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    )


def _is_weight(value: Any) -> bool:
    return _is_number(value) and value >= 0


def _is_weight_or_none(value: Any) -> bool:
    return value is None or _is_weight(value)
