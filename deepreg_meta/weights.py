"""
Arithmetic on lists of variables: snapshot, restore, interpolate, average.

Every function works eagerly and inside `tf.function`; nothing here knows what the
variables mean, so normalisation statistics and optimiser state take part like kernels.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf


def _check_same(start: Sequence, end: Sequence) -> None:
    if len(start) != len(end):
        raise ValueError(
            f"expected two lists of the same length, got {len(start)} and {len(end)}."
        )
    for index, (a, b) in enumerate(zip(start, end, strict=True)):
        if tuple(a.shape) != tuple(b.shape):
            raise ValueError(
                f"expected the same shapes in both lists, got {tuple(a.shape)} and "
                f"{tuple(b.shape)} at index {index}."
            )


def snapshot(variables: Sequence[tf.Variable]) -> list[tf.Tensor]:
    """
    Copy the values of variables.

    :param variables: left unchanged.
    :return: tensors that keep their values when the variables are assigned to.
    """
    return [tf.identity(variable) for variable in variables]


def restore(variables: Sequence[tf.Variable], values: Sequence) -> None:
    """
    Assign values to variables, bit for bit.

    :param variables: to be overwritten.
    :param values: one tensor or array per variable, as from `snapshot`.
    :raises ValueError: when numbers or shapes differ; the first differing is named.
    """
    _check_same(variables, values)
    for variable, value in zip(variables, values, strict=True):
        variable.assign(tf.cast(value, variable.dtype))


def interpolate(start: Sequence, end: Sequence, step_size: tf.Tensor | float) -> list:
    """
    Move weights part of the way from `start` to `end`: start + step_size (end - start).

    Source: Nichol, Achiam and Schulman 2018, arXiv:1803.02999, Algorithm 1, last line.
    Step sizes of exactly 0 and 1 return `start` and `end` to the bit, which the sum
    would not. What is not floating point, such as a counter, stays as in `start`.

    :param start: one tensor per variable; left unchanged.
    :param end: tensors of the same number and shapes as `start`.
    :param step_size: epsilon of the source, in [0, 1], scalar.
    :return: new tensors, with the dtypes of `start`.
    :raises ValueError: when numbers or shapes differ; the first differing is named.
    """
    _check_same(start, end)
    moved = []
    for a, b in zip(start, end, strict=True):
        a, b = tf.convert_to_tensor(a), tf.convert_to_tensor(b)
        if not a.dtype.is_floating:
            moved.append(a)
            continue
        size = tf.cast(step_size, a.dtype)
        between = tf.where(size < 1.0, a + size * (b - a), b)
        moved.append(tf.where(size > 0.0, between, a))
    return moved


def zeros_like(variables: Sequence) -> list[tf.Tensor]:
    """Return zeros of the shapes and dtypes of the variables."""
    return [tf.zeros_like(variable) for variable in variables]


def accumulate(total: Sequence, values: Sequence) -> list[tf.Tensor]:
    """Return the sums of two lists, element by element; for running averages."""
    _check_same(total, values)
    return [a + tf.cast(b, a.dtype) for a, b in zip(total, values, strict=True)]


def scale(values: Sequence, factor: tf.Tensor | float) -> list[tf.Tensor]:
    """Return the values times a scalar factor."""
    return [value * tf.cast(factor, value.dtype) for value in values]


def mean(total: Sequence, count: int) -> list[tf.Tensor]:
    """
    Return the means of what was summed up.

    :param total: sums, as from `accumulate`.
    :param count: how many went into each sum.
    :return: sums / count; of integers, such as counters, the floor.
    """
    return [
        value * tf.cast(1.0 / count, value.dtype)
        if value.dtype.is_floating
        else value // tf.cast(count, value.dtype)
        for value in total
    ]


def equal(a: Sequence, b: Sequence) -> bool:
    """
    Tell whether two lists of variables or arrays are equal bit for bit (eager only).

    :param a: variables, tensors or arrays.
    :param b: variables, tensors or arrays.
    :return: True when numbers, shapes, types and bytes agree; NaN equals the same NaN.
    """
    if len(a) != len(b):
        return False
    pairs = ((np.asarray(x), np.asarray(y)) for x, y in zip(a, b, strict=True))
    return all(
        x.shape == y.shape and x.dtype == y.dtype and x.tobytes() == y.tobytes()
        for x, y in pairs
    )
