"""Tests of the arithmetic on lists of variables."""

import numpy as np
import pytest
import tensorflow as tf

from deepreg_meta import weights

SHAPES = [(5, 6), (7,), ()]


def arrays(rng, scale=1.0):
    return [(scale * rng.standard_normal(s)).astype(np.float32) for s in SHAPES]


def interpolated(mode, start, end, step_size):
    moved = mode(weights.interpolate)(start, end, tf.constant(step_size))
    return [value.numpy() for value in moved]


def test_step_size_zero_changes_no_bit(mode, rng):
    start, end = arrays(rng), arrays(rng, 1e6)
    assert weights.equal(interpolated(mode, start, end, 0.0), start)


def test_step_size_zero_keeps_the_sign_of_zero():
    start, end = [np.float32([-0.0])], [np.float32([1.0])]
    assert weights.equal(weights.interpolate(start, end, 0.0), start)


def test_step_size_one_returns_end_to_the_bit(mode, rng):
    # with start 1e8 times end the plain sum loses every digit of end
    start, end = arrays(rng, 1e8), arrays(rng)
    sums = [a + (b - a) for a, b in zip(start, end, strict=True)]
    assert not weights.equal(sums, end)
    assert weights.equal(interpolated(mode, start, end, 1.0), end)


def test_any_other_step_size_moves_that_share_of_the_way(mode):
    start, end = [np.float32([1.0, -2.0])], [np.float32([3.0, 2.0])]
    # 1 + 0.25 (3 - 1) = 1.5 and -2 + 0.25 (2 + 2) = -1
    moved = interpolated(mode, start, end, 0.25)
    np.testing.assert_array_equal(moved, [[1.5, -1.0]])


def test_interpolate_leaves_start_unchanged_and_keeps_its_dtypes():
    start = [
        tf.Variable([1.0, 2.0], dtype=tf.float64),
        tf.Variable([3], dtype=tf.int64),
    ]
    end = [tf.constant([5.0, 6.0], tf.float64), tf.constant([4], tf.int64)]
    moved = weights.interpolate(start, end, tf.constant(0.5))
    assert [value.dtype for value in moved] == [tf.float64, tf.int64]
    np.testing.assert_array_equal(start[0].numpy(), [1.0, 2.0])
    np.testing.assert_array_equal(moved[0].numpy(), [3.0, 4.0])


@pytest.mark.parametrize(
    "function",
    [lambda a, b: weights.interpolate(a, b, 0.5), weights.accumulate, weights.restore],
)
def test_lists_that_do_not_fit_are_refused_with_the_index(function):
    start = [tf.Variable(tf.zeros(s)) for s in SHAPES]
    with pytest.raises(ValueError, match=r"\(7,\) and \(6,\) at index 1"):
        function(start, [tf.zeros([5, 6]), tf.zeros([6]), tf.zeros([])])
    with pytest.raises(ValueError, match="the same length, got 3 and 2"):
        function(start, [tf.zeros([5, 6]), tf.zeros([7])])


def test_a_snapshot_survives_assignments_and_is_restored_bit_for_bit(mode, rng):
    original = arrays(rng)
    variables = [tf.Variable(value) for value in original]
    taken = weights.snapshot(variables)

    @mode
    def change():
        for variable in variables:
            variable.assign(variable * 3.0 + 1.0)

    change()
    assert weights.equal(taken, original)
    assert not weights.equal(variables, original)
    weights.restore(variables, taken)
    assert weights.equal(variables, original)


def test_the_running_average_of_three_iterates_is_their_mean(mode):
    iterates = [[np.float32([i, 10.0 * i])] for i in (1, 2, 6)]

    @mode
    def mean():
        total = weights.zeros_like(iterates[0])
        for values in iterates:
            total = weights.accumulate(total, values)
        return weights.scale(total, 1.0 / 3.0)

    np.testing.assert_allclose(mean()[0], [3.0, 30.0], rtol=1e-6)  # (1 + 2 + 6) / 3


def test_means_of_integers_are_their_floor_and_keep_their_dtype():
    """7 / 2 = 3.5; counters that are alike stay what they are."""
    total = [tf.constant([7.0]), tf.constant([7, 8]), tf.constant(12, tf.int64)]
    found = weights.mean(total, 2)
    assert [x.dtype for x in found] == [tf.float32, tf.int32, tf.int64]
    assert found[0].numpy() == [3.5]
    np.testing.assert_array_equal(found[1], [3, 4])
    assert int(found[2]) == 6


def test_equal_compares_numbers_and_every_bit_of_the_values():
    nan = np.float32([np.nan, 1.0])
    assert weights.equal([nan], [nan.copy()])
    assert not weights.equal([nan], [nan, nan])
    assert not weights.equal([np.float32([0.0])], [np.float32([-0.0])])


def test_equal_tells_shapes_apart():
    assert not weights.equal([np.zeros((2, 3))], [np.zeros((3, 2))])
