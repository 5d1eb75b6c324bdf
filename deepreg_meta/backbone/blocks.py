"""
DeepReg's building blocks with the same weights and results, at a lower price; in lower
precision; with less memory; and for images, which are volumes one voxel deep.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf
from deepreg.model import layer, layer_util

from deepreg_meta import compat
from deepreg_meta.layer.conv import PackedConv3D
from deepreg_meta.layer.norm import FlatBatchNormalization, hold_moving_averages
from deepreg_meta.layer.planar import PlanarConv3DTranspose, PlanarMaxPool3D

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
# What makes, moves and applies fields: coordinates in bfloat16 would step by half a
# voxel above 64.
_FIELD_LAYERS = (
    *("Conv3dWithResize", "ResizeCPTransform", "BSplines3DTransform"),
    *("Warping", "IntDVF"),
)
# What is large enough for its inside to be worth forgetting.
_LARGE_BLOCKS = (
    *("DownSampleResnetBlock", "UpSampleResnetBlock", "LocalNetUpSampleResnetBlock"),
)


class Conv3d(layer.Conv3d):
    """DeepReg's Conv3d, packed where it pays."""

    _conv3d: tf.keras.layers.Conv3D

    def __init__(self, *args: object, **kwargs: object) -> None:
        """
        :param args: of DeepReg's layer.
        :param kwargs: of DeepReg's layer.
        """
        super().__init__(*args, **kwargs)
        self._conv3d = PackedConv3D.from_config(self._conv3d.get_config())


class Deconv3d(layer.Deconv3d):
    """DeepReg's Deconv3d, fast on images."""

    _deconv3d: tf.keras.layers.Conv3DTranspose

    def build(self, input_shape: Any) -> None:
        """:param input_shape: (batch, d1, d2, d3, ch)."""
        super().build(input_shape)
        config = self._deconv3d.get_config()
        self._deconv3d = PlanarConv3DTranspose.from_config(config)


class MaxPool3d(layer.MaxPool3d):
    """DeepReg's MaxPool3d, fast on images."""

    _max_pool: tf.keras.layers.MaxPool3D

    def __init__(self, *args: object, **kwargs: object) -> None:
        """
        :param args: of DeepReg's layer.
        :param kwargs: of DeepReg's layer.
        """
        super().__init__(*args, **kwargs)
        self._max_pool = PlanarMaxPool3D.from_config(self._max_pool.get_config())


class Norm(layer.Norm):
    """DeepReg's Norm, flat where it is batch normalisation over the channels."""

    def __init__(
        self, name: str = "batch_norm", axis: int = -1, **kwargs: object
    ) -> None:
        """
        :param name: batch_norm or layer_norm.
        :param axis: of the channels.
        :param kwargs: of a Keras layer.
        """
        super().__init__(name=name, axis=axis, **kwargs)
        if name == "batch_norm" and axis == -1:
            self._norm = FlatBatchNormalization(**kwargs)


class AdditiveUpSampling(layer.AdditiveUpSampling):
    """DeepReg's AdditiveUpSampling: adds, then resizes the fewer channels."""

    def call(self, inputs: tf.Tensor, **kwargs: object) -> tf.Tensor:
        """
        Resize and add groups of channels; both are linear, so that their order is free.

        :param inputs: shape = (batch, dim1, dim2, dim3, channels).
        :param kwargs: not used.
        :return: shape = (batch, out_dim1, out_dim2, out_dim3, channels // stride).
        """
        if inputs.shape[4] % self._stride != 0:
            return super().call(inputs, **kwargs)  # which says what is wrong
        added = tf.add_n(tf.split(inputs, self._stride, axis=4))
        resized = layer_util.resize3d(image=added, size=self._output_shape)
        return tf.cast(resized, inputs.dtype)  # TensorFlow resizes in float32


@contextlib.contextmanager
def _policy(name: str) -> Iterator[None]:
    """Let Keras layers that are built inside the context have a precision."""
    before = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy(name)
    try:
        yield
    finally:
        tf.keras.mixed_precision.set_global_policy(before)


def _in_float32(base: Any) -> type:
    """Return a layer class of DeepReg's that computes in float32 under any policy."""

    class InFloat32(base):
        def __init__(self, *args: object, **kwargs: object) -> None:
            with _policy("float32"):
                super().__init__(*args, **{**kwargs, "dtype": "float32"})

        def build(self, input_shape: Any) -> None:
            with _policy("float32"):  # some make their layers here
                super().build(input_shape)

    InFloat32.__name__ = base.__name__
    return InFloat32


def _recomputed(function: Callable[[Any], Any], inputs: Any) -> Any:
    """
    Call a function whose intermediate results are computed again for the gradient.

    :param function: of tensors.
    :param inputs: a tensor or a list of them.
    :return: what the function returns.
    """
    calls: list[bool] = []

    def call(*tensors: tf.Tensor) -> Any:
        calls.append(True)
        # the second one, for the gradient, must not move averages again
        held = hold_moving_averages() if len(calls) > 1 else contextlib.nullcontext()
        with held:
            return function(tf.nest.pack_sequence_as(inputs, tensors))

    return tf.recompute_grad(call)(*tf.nest.flatten(inputs))


def _forgetful(base: Any) -> type:
    """Return a block class of DeepReg's that keeps its inputs and outputs alone."""

    class Forgetful(base):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **kwargs)
            self._has_weights = False  # blocks make them when they are first called

        def call(self, inputs: Any, training: Any = None, **kwargs: object) -> Any:
            def function(tensors: Any) -> Any:
                return base.call(self, inputs=tensors, training=training, **kwargs)

            if self._has_weights:
                return _recomputed(function, inputs)
            self._has_weights = True
            return function(inputs)

    Forgetful.__name__ = base.__name__
    return Forgetful


def has_large_blocks(backbone: tf.Module) -> bool:
    """Return whether `recompute` of `fast_blocks` changes anything of a backbone."""
    kinds = tuple(getattr(layer, name) for name in _LARGE_BLOCKS)
    return any(isinstance(part, kinds) for part in backbone.submodules)


def singleton_axes(size: Sequence[int]) -> tuple[int, ...]:
    """
    Return the axes along which a grid has a single voxel, such as (2,) for an image.

    :param size: (d1, d2, d3).
    """
    return tuple(axis for axis, length in enumerate(size) if length == 1)


def _in_plane(
    kind: Callable[..., Any], flat: Sequence[int], **defaults: int | None
) -> Callable[..., Any]:
    """
    Return what makes a layer that neither looks nor strides along some axes.

    :param kind: a layer of DeepReg's.
    :param flat: singleton axes.
    :param defaults: its arguments that are sizes, with their defaults.
    """

    def sizes(value: int | Sequence[int] | None) -> tuple[int, ...] | None:
        if value is None:
            return None
        each = (value,) * 3 if isinstance(value, int) else tuple(value)
        return tuple(1 if axis in flat else size for axis, size in enumerate(each))

    def make(**kwargs: Any) -> Any:
        for name, default in defaults.items():
            kwargs[name] = sizes(kwargs.get(name, default))
        return kind(**kwargs)

    return make


def _planar_blocks(flat: Sequence[int]) -> dict[str, Callable[..., Any]]:
    """Return what makes the layers that look around, for grids with singleton axes."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise ValueError(
            "train.backbone.control_points: expected none for images with a singleton "
            "axis, along which there is nothing to interpolate."
        )

    return dict(
        Conv3d=_in_plane(Conv3d, flat, kernel_size=3, strides=1),
        Deconv3d=_in_plane(Deconv3d, flat, kernel_size=3, strides=1),
        MaxPool3d=_in_plane(MaxPool3d, flat, pool_size=2, strides=None),
        ResizeCPTransform=refuse,
        BSplines3DTransform=refuse,
    )


@contextlib.contextmanager
def fast_blocks(
    precision: str = "float32", recompute: bool = False, flat: Sequence[int] = ()
) -> Iterator[None]:
    """
    Let the backbones that are built inside the context take these blocks.

    :param precision: one of float32, mixed_bfloat16, mixed_float16. In the mixed ones
        convolutions and normalisation compute in 16 bits; weights, the layers that make
        fields, and fields are float32.
    :param recompute: keep the inputs of each block alone for the gradient and compute
        its inside a second time: less memory, more time.
    :param flat: singleton axes of the grid, along which kernels, pools and strides have
        size 1: there, weights of DeepReg's kernels would meet nothing but zeros.
    :raises ValueError: for another precision.
    """
    if precision not in PRECISIONS:
        raise ValueError(
            f"train.precision: expected one of {', '.join(PRECISIONS)}, got "
            f"{precision!r}."
        )
    classes: dict[str, Callable[..., Any]] = dict(
        Conv3d=Conv3d, Norm=Norm, AdditiveUpSampling=AdditiveUpSampling
    )
    if precision != "float32":
        classes |= {name: _in_float32(getattr(layer, name)) for name in _FIELD_LAYERS}
    if flat:
        classes |= _planar_blocks(flat)
    if recompute:
        classes |= {name: _forgetful(getattr(layer, name)) for name in _LARGE_BLOCKS}
    with compat.layers(**classes), _policy(precision):
        yield
