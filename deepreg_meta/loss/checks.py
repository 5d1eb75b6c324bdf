"""What losses check of the tensors that they are given."""

import functools
import inspect
from collections.abc import Callable

import numpy as np
import tensorflow as tf


def as_volume(volume: tf.Tensor, name: str) -> tf.Tensor:
    """
    Check an image or a label.

    :param volume: tensor or array, shape = (batch, d1, d2, d3), static but for the
        batch.
    :param name: for the message.
    :return: as a tensor.
    :raises ValueError: for another shape, or numbers without fractions.
    """
    volume = tf.convert_to_tensor(volume)
    if volume.shape.rank != 4 or not volume.shape[1:].is_fully_defined():
        raise ValueError(
            f"{name}: expected a volume (batch, d1, d2, d3), static but for the batch, "
            f"got shape {volume.shape}. An image has a singleton axis: (batch, d1, d2, "
            "1)."
        )
    if not volume.dtype.is_floating:
        raise ValueError(
            f"{name}: expected floating-point numbers, got {volume.dtype.name}. Cast "
            "it."
        )
    return volume


def check_alike(fixed: tf.Tensor, warped: tf.Tensor) -> None:
    """
    Check that two volumes can be compared voxel by voxel.

    :param fixed: shape = (batch, d1, d2, d3).
    :param warped: shape = (batch, d1, d2, d3).
    :raises ValueError: for different shapes or types.
    """
    if not fixed.shape.is_compatible_with(warped.shape):
        raise ValueError(
            "expected a fixed and a warped volume of one shape, got "
            f"{fixed.shape} and {warped.shape}."
        )
    if fixed.dtype != warped.dtype:
        raise ValueError(
            "expected a fixed and a warped volume of one type, got "
            f"{fixed.dtype.name} and {warped.dtype.name}. Cast one of them."
        )


def as_field(field: tf.Tensor) -> tf.Tensor:
    """
    Check a displacement field.

    :param field: tensor or array, shape = (batch, d1, d2, d3, 3).
    :return: as a tensor.
    :raises ValueError: for another number of axes, or numbers without fractions.
    """
    field = tf.convert_to_tensor(field)
    if field.shape.rank != 5:
        raise ValueError(
            f"expected a field (batch, d1, d2, d3, 3), got shape {field.shape}. That "
            "of an image has a singleton axis: (batch, d1, d2, 1, 3)."
        )
    if not field.dtype.is_floating:
        raise ValueError(
            f"expected a field of floating-point numbers, got {field.dtype.name}. Cast "
            "it."
        )
    return field


def in_models_too(call: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """
    Let a loss be called while Keras builds a model, as DeepReg's own methods do.

    An operation with a gradient written out takes no tensor of a model that is being
    built: of such ones a layer computes the loss.

    :param call: `__call__` of the loss, with tensors as arguments.
    :return: the same, for tensors of both kinds.
    """
    signature = inspect.signature(call)

    @functools.wraps(call)
    def computed(*args: object, **kwargs: object) -> tf.Tensor:
        loss, *tensors = signature.bind(*args, **kwargs).args
        if not any(_is_of_model(tensor) for tensor in tensors):
            return call(loss, *tensors)
        return tf.keras.layers.Lambda(lambda values: call(loss, *values))(tensors)

    return computed


def _is_of_model(tensor: object) -> bool:
    """Whether a tensor stands for what a model will be given."""
    if isinstance(tensor, (np.ndarray, list, tuple, int, float)):
        return False  # which Keras refuses to be asked of
    return bool(tf.keras.backend.is_keras_tensor(tensor))
