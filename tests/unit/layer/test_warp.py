"""Tests of sampling, warping and composition; references: DeepReg and SimpleITK."""

import numpy as np
import pytest
import SimpleITK as sitk
import tensorflow as tf
from deepreg.model import layer_util

from deepreg_meta.layer import warp

SIZE = (5, 6, 7)


def volume(rng, *shape):
    return tf.constant(rng.standard_normal(shape), tf.float32)


def whole_volume(rng, *shape):
    """Return whole numbers, whose differences and sums have no rounding."""
    return tf.constant(rng.integers(1, 100, shape), tf.float32)


def inner_points(rng, batch=2, count=40):
    """Locations at least 0.05 voxel off the integers and inside the outer voxels."""
    whole = rng.integers(0, np.array(SIZE) - 1, (batch, count, 3))
    return tf.constant(whole + rng.uniform(0.05, 0.95, whole.shape), tf.float32)


def linear_volume(size, slope=(1.0, -2.0, 0.5), bias=3.0):
    """Return a volume that is linear in space; linear interpolation is exact on it."""
    return tf.linalg.matvec(warp.reference_grid(size), slope)[None] + bias


def itk_sample(image, points, interpolator):
    """Sample an array (d1, d2, d3) at points (n, 3) by SimpleITK, 0 outside."""
    itk = sitk.GetImageFromArray(np.ascontiguousarray(image.transpose(2, 1, 0)))
    values = []
    for point in points:
        move = sitk.TranslationTransform(3, [float(p) for p in point])
        one = sitk.Resample(
            itk, [1, 1, 1], move, interpolator, [0.0] * 3, [1.0] * 3, np.eye(3).ravel()
        )
        values.append(sitk.GetArrayFromImage(one)[0, 0, 0])
    return np.array(values)


def test_the_reference_grid_holds_its_own_indices():
    grid = warp.reference_grid(SIZE)
    assert grid.shape == (*SIZE, 3)
    np.testing.assert_array_equal(grid[3, 5, 1], [3.0, 5.0, 1.0])


def test_affine_maps_equal_numpy_for_each_batch_element(rng):
    points = rng.standard_normal((1, 4, 5, 3)).astype(np.float32)
    matrix = rng.standard_normal((2, 3, 3)).astype(np.float32)
    offset = rng.standard_normal((2, 3)).astype(np.float32)
    mapped = warp.apply_affine(*map(tf.constant, (points, matrix, offset)))
    for i in range(2):
        expected = points[0] @ matrix[i].T + offset[i]
        np.testing.assert_allclose(mapped[i], expected, atol=1e-5)


@pytest.mark.parametrize("channels", [(), (2,)])
def test_values_and_gradients_equal_deepregs_in_the_interior(mode, rng, channels):
    image, loc = volume(rng, 2, *SIZE, *channels), inner_points(rng)

    def value_and_gradients(function):
        with tf.GradientTape() as tape:
            tape.watch([image, loc])
            value = function(image, loc)
            total = tf.reduce_sum(value**2)
        return value, tape.gradient(total, [image, loc])

    ours = mode(lambda: value_and_gradients(warp.sample))()
    theirs = value_and_gradients(layer_util.resample)
    for a, b in zip(tf.nest.flatten(ours), tf.nest.flatten(theirs), strict=True):
        np.testing.assert_allclose(a, tf.convert_to_tensor(b), rtol=1e-5, atol=1e-5)


def test_gradients_equal_finite_differences_off_the_integers(rng):
    image, loc = volume(rng, 1, *SIZE), inner_points(rng, batch=1, count=4)
    # float32: linear along each axis, so a wide step is exact but for rounding
    for function, x in [
        (lambda image: warp.sample(image, loc), image),
        (lambda loc: warp.sample(image, loc), loc),
    ]:
        ours, numerical = tf.test.compute_gradient(function, [x], delta=1 / 64)
        np.testing.assert_allclose(ours[0], numerical[0], atol=2e-4)


@pytest.mark.parametrize(
    "name, itk", [("linear", sitk.sitkLinear), ("nearest", sitk.sitkNearestNeighbor)]
)
def test_the_border_is_simpleitks(rng, name, itk):
    image = volume(rng, 1, *SIZE)
    loc = rng.uniform(-1.0, np.array(SIZE), (200, 3)).astype(np.float32)
    # the ends of the outer half voxels, 1e-3 inside and outside, and their centres
    for axis in range(3):
        for value in (-0.499, -0.501, SIZE[axis] - 0.501, SIZE[axis] - 0.499, 0.0):
            loc = np.concatenate([loc, [[2.2, 2.3, 2.4]]]).astype(np.float32)
            loc[-1, axis] = value
    ours = warp.sample(image, tf.constant(loc[None]), interpolation=name)[0].numpy()
    expected = itk_sample(image[0].numpy(), loc, itk)
    assert 30 < np.sum(expected == 0.0) < 180
    np.testing.assert_allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize("name", warp.INTERPOLATIONS)
@pytest.mark.parametrize("shift", [(1, -2, 3), (0, 0, 0), (-4, 5, 0)])
def test_whole_voxel_shifts_are_exact_at_every_voxel(mode, rng, name, shift):
    image = whole_volume(rng, 1, *SIZE)
    ddf = tf.broadcast_to(tf.constant(shift, tf.float32), [1, *SIZE, 3])
    warped = mode(lambda: warp.warp(image, ddf, interpolation=name))()
    padded = np.pad(image[0], 5)  # zeros outside
    start = [5 + s for s in shift]
    taken = tuple(slice(a, a + n) for a, n in zip(start, SIZE, strict=True))
    np.testing.assert_array_equal(warped[0], padded[taken])


@pytest.mark.parametrize("name", warp.INTERPOLATIONS)
def test_border_keeps_the_value_at_the_border(name):
    image = tf.reshape(tf.range(5.0) + 1.0, [1, 5, 1, 1])
    loc = tf.constant([[[-7.0, 0, 0], [1.0, 9.0, 0], [60.0, 0, -3.0]]])
    values = warp.sample(image, loc, interpolation=name, boundary="border")
    np.testing.assert_array_equal(values[0], [1.0, 2.0, 5.0])
    zeros = warp.sample(image, loc, interpolation=name)
    np.testing.assert_array_equal(zeros[0], [0.0, 0.0, 0.0])


def test_a_value_worked_out_by_hand():
    # 0..7 at (i, j, k) = 4 i + 2 j + k: at (0.25, 0.5, 0.75) 1 + 1 + 0.75
    image = tf.reshape(tf.range(8.0), [1, 2, 2, 2])
    value = warp.sample(image, tf.constant([[[0.25, 0.5, 0.75]]]))
    assert value[0, 0].numpy() == pytest.approx(2.75)


@pytest.mark.parametrize("boundary", warp.BOUNDARIES)
def test_what_is_no_number_samples_to_none_and_disturbs_no_other(mode, boundary):
    """A diverging network must not end the process; infinite is only far away."""
    image = linear_volume(SIZE)
    loc = tf.constant([[[1.0, np.nan, 2], [2, 3, 1], [np.inf, 1, 1]]])
    found = mode(lambda: warp.sample(image, loc, boundary=boundary))()[0]
    assert np.isnan(found[0])
    assert found[1] == -0.5  # 3 + 2 - 2 * 3 + 0.5
    assert found[2] == (0.0 if boundary == "zero" else 5.5)  # 3 + 4 - 2 + 0.5


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_along_a_singleton_axis_nothing_is_lost(rng, axis):
    size = [n if i != axis else 1 for i, n in enumerate(SIZE)]
    image = whole_volume(rng, 1, *size)
    shift = np.array([0.0 if i == axis else 0.5 for i in range(3)], np.float32)
    ddf = tf.broadcast_to(shift, [1, *size, 3])
    warped = warp.warp(image, ddf, boundary="border")
    expected = np.squeeze(image.numpy())
    for i in range(2):  # mean of each voxel and the next, the last one with itself
        following = np.take(expected, range(1, expected.shape[i]), axis=i)
        last = np.take(expected, [-1], axis=i)
        expected = (expected + np.concatenate([following, last], axis=i)) / 2
    np.testing.assert_allclose(np.squeeze(warped), expected, atol=1e-6)
    np.testing.assert_array_equal(warp.warp(image, tf.zeros([1, *size, 3])), image)


@pytest.mark.parametrize("name", warp.INTERPOLATIONS)
def test_channels_and_batch_elements_are_sampled_one_by_one(rng, name):
    image, loc = volume(rng, 2, *SIZE, 3), inner_points(rng)
    together = warp.sample(image, loc, interpolation=name)
    for b in range(2):
        for ch in range(3):
            one = warp.sample(image[b : b + 1, ..., ch], loc[b : b + 1], name)
            np.testing.assert_array_equal(together[b, :, ch], one[0])


def test_composition_equals_warping_twice_for_whole_voxel_shifts(rng):
    image = whole_volume(rng, 1, *SIZE)
    outer = tf.broadcast_to(tf.constant([1.0, 0.0, -1.0]), [1, *SIZE, 3])
    inner = tf.constant(rng.integers(-1, 2, (1, *SIZE, 3)), tf.float32)
    twice = warp.warp(warp.warp(image, outer), inner)
    once = warp.warp(image, warp.compose(outer, inner))
    inside = np.s_[:, 1:-1, 1:-1, 1:-1]  # where the first warp still sees the image
    np.testing.assert_array_equal(once[inside], twice[inside])


def test_composition_equals_warping_twice_for_linear_images(mode, rng):
    size = (9, 10, 11)
    image = linear_volume(size)
    grid = warp.reference_grid(size)
    # a linear outer field, so that its interpolation is exact as well
    outer = (
        tf.linalg.matvec(
            tf.constant(rng.uniform(-0.05, 0.05, (3, 3)), tf.float32), grid
        )
        + 0.2
    )[None]
    inner = tf.constant(rng.uniform(-1.0, 1.0, (1, *size, 3)), tf.float32)
    once, twice = mode(
        lambda: (
            warp.warp(image, warp.compose(outer, inner)),
            warp.warp(warp.warp(image, outer), inner),
        )
    )()
    inside = np.s_[:, 3:-3, 3:-3, 3:-3]
    np.testing.assert_allclose(once[inside], twice[inside], atol=1e-4)
    # and the order counts here
    swapped = warp.warp(image, warp.compose(inner, outer))
    assert np.max(np.abs((swapped - twice)[inside])) > 0.01


def test_integrating_a_constant_velocity_gives_that_shift(mode):
    dvf = tf.broadcast_to(tf.constant([0.5, -1.25, 2.0]), [1, *SIZE, 3])
    np.testing.assert_allclose(mode(warp.integrate)(dvf), dvf, atol=1e-6)


def test_integrating_a_linear_velocity_gives_its_exponential():
    # v = r (x - 4) flows to u = (exp(r) - 1) (x - 4); 2^7 squarings: (1 + r/128)^128
    grid = warp.reference_grid((9, 1, 1))[None] - tf.constant([4.0, 0.0, 0.0])
    dvf = grid * tf.constant([-0.5, 0.0, 0.0])
    expected = ((1.0 - 0.5 / 128) ** 128 - 1.0) * grid
    np.testing.assert_allclose(warp.integrate(dvf), expected, atol=1e-4)
    assert abs(expected[0, 0, 0, 0, 0]) > 1.5


@pytest.mark.parametrize(
    "kwargs, message",
    [
        (dict(interpolation="cubic"), "interpolation: expected one of .*got 'cubic'"),
        (dict(boundary="wrap"), "boundary: expected one of .*got 'wrap'"),
    ],
)
def test_unknown_options_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        warp.sample(tf.zeros([1, *SIZE]), tf.zeros([1, 2, 3]), **kwargs)


@pytest.mark.parametrize("shapes", [[SIZE, (1, 2, 3)], [(1, *SIZE), (1, 2, 2)]])
def test_wrong_ranks_are_refused_with_the_shapes(shapes):
    with pytest.raises(ValueError, match=r"expected a volume .* got \("):
        warp.sample(*[tf.zeros(shape) for shape in shapes])
