"""Tests of sampling, warping and composition; references: DeepReg and SimpleITK."""

import numpy as np
import pytest
import scipy.linalg
import SimpleITK as sitk
import tensorflow as tf
from deepreg.model import layer_util

from deepreg_meta.layer import warp

SIZE = (5, 6, 7)
SINGLETONS = [(1, 6, 7), (5, 1, 7), (5, 6, 1)]


@pytest.fixture(params=["eager", "graph", "compiled"])
def way(request):
    """Return what wraps a function: itself, its graph, or what XLA makes of it."""
    wraps = dict(graph=tf.function, compiled=tf.function(jit_compile=True))
    return wraps.get(request.param, lambda function: function)


def volume(rng, *shape):
    return tf.constant(rng.standard_normal(shape), tf.float32)


def whole_volume(rng, *shape):
    """Return whole numbers, whose differences and sums have no rounding."""
    return tf.constant(rng.integers(1, 100, shape), tf.float32)


def inner_points(rng, batch=2, count=40, size=SIZE, dtype=tf.float32):
    """Locations at least 0.05 voxel off the integers and inside the outer voxels."""
    whole = rng.integers(0, np.maximum(np.array(size) - 1, 1), (batch, count, 3))
    inside = whole + rng.uniform(0.05, 0.95, whole.shape)
    # along a singleton axis: within half a voxel of its centre
    return tf.constant(np.where(np.array(size) == 1, inside - 0.5, inside), dtype)


def value_and_gradients(function, *inputs):
    """Return a value and the gradients of the sum of its squares."""
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        value = function(*inputs)
        total = tf.reduce_sum(value**2)
    return value, *tape.gradient(total, inputs)


def assert_all_close(ours, theirs, tolerance=1e-5):
    """Fail unless two lists of tensors agree."""
    for a, b in zip(ours, theirs, strict=True):  # DeepReg's gradients may be slices
        b = tf.convert_to_tensor(b)
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


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


@pytest.mark.parametrize("channels", [(), (1,), (3,)])
def test_values_and_gradients_equal_deepregs_in_the_interior(way, rng, channels):
    image, loc = volume(rng, 2, *SIZE, *channels), inner_points(rng)
    ours = way(lambda *x: value_and_gradients(warp.sample, *x))(image, loc)
    assert_all_close(ours, value_and_gradients(layer_util.resample, image, loc))


@pytest.mark.parametrize("size", SINGLETONS)
def test_an_image_equals_deepregs_two_dimensions(way, rng, size):
    """DeepReg's own way of 2-D: the singleton axis is left out."""
    image, loc = volume(rng, 2, *size, 3), inner_points(rng, size=size)
    axes = [axis for axis in range(3) if size[axis] > 1]

    def plane(image, loc):
        image = tf.squeeze(image, axis=1 + size.index(1))
        return layer_util.resample(image, tf.gather(loc, axes, axis=-1))

    ours = way(lambda *x: value_and_gradients(warp.sample, *x))(image, loc)
    assert_all_close(ours, value_and_gradients(plane, image, loc))


@pytest.mark.parametrize(
    "size, expected", [(SIZE, 8), ((5, 6, 1), 4), ((1, 6, 7), 4), ((1, 6, 1), 2)]
)
def test_each_axis_that_is_no_singleton_doubles_the_gathers(size, expected):
    """So a plane costs half of a volume with as many voxels; so does its gradient."""
    specs = [tf.TensorSpec([2, *size]), tf.TensorSpec([2, *SIZE, 3])]

    def num_operations(name, function):
        graph = tf.function(function).get_concrete_function(*specs).graph
        return sum(operation.type == name for operation in graph.get_operations())

    assert num_operations("GatherV2", warp.sample) == expected
    sums = num_operations(
        "UnsortedSegmentSum", lambda *x: value_and_gradients(warp.sample, *x)
    )
    assert sums == expected


@pytest.mark.parametrize("channels", [(), (2,)])
@pytest.mark.parametrize("size", [(2, 3, 4), (1, 3, 4), (3, 1, 4), (3, 4, 1)])
def test_gradients_equal_finite_differences_in_float64(rng, size, channels):
    image = tf.constant(rng.standard_normal((1, *size, *channels)))
    loc = inner_points(rng, batch=1, count=4, size=size, dtype=tf.float64)
    for function, x in [
        (lambda image: warp.sample(image, loc), image),
        (lambda loc: warp.sample(image, loc), loc),
    ]:
        ours, numerical = tf.test.compute_gradient(function, [x])
        np.testing.assert_allclose(ours[0], numerical[0], atol=1e-9)
        assert np.abs(ours[0]).max() > 0.1


def test_the_gradient_to_a_voxel_sums_over_all_that_see_it():
    # the locations give the voxels 1 and 2 the weights (3/4, 1/4) and (1/2, 1/2)
    image = tf.constant([[1.0, 2.0, 5.0, 7.0]])[..., None, None]
    loc = tf.constant([[[1.25, 0.0, 0.0], [1.5, 0.0, 0.0]]])
    with tf.GradientTape() as tape:
        tape.watch(image)
        total = tf.reduce_sum(warp.sample(image, loc) * [[1.0, 10.0]])
    found = tape.gradient(total, image)[0, :, 0, 0]
    np.testing.assert_allclose(found, [0.0, 5.75, 5.25, 0.0], atol=1e-6)


@pytest.mark.parametrize("name", warp.INTERPOLATIONS)
def test_a_batch_of_unknown_size_is_sampled_as_a_known_one(rng, name):
    image, loc = volume(rng, 3, *SIZE, 2), inner_points(rng, batch=3)
    specs = [tf.TensorSpec([None, *x.shape[1:]]) for x in (image, loc)]
    sample = tf.function(
        lambda *x: warp.sample(*x, interpolation=name), input_signature=specs
    )
    for size in (3, 1):
        expected = warp.sample(image[:size], loc[:size], interpolation=name)
        np.testing.assert_array_equal(sample(image[:size], loc[:size]), expected)
    assert sample.experimental_get_tracing_count() == 1


def test_gradients_inside_a_loop_are_those_outside(way, rng):
    """Gradient descent on a field, as in the inner loop."""
    image, loc = volume(rng, 1, *SIZE), inner_points(rng, batch=1)

    def step(loc):
        return loc - 0.01 * value_and_gradients(warp.sample, image, loc)[2]

    def loop(loc):
        return tf.while_loop(
            lambda i, _: i < 3, lambda i, x: (i + 1, step(x)), [0, loc]
        )

    np.testing.assert_allclose(way(loop)(loc)[1], step(step(step(loc))), atol=1e-6)


@pytest.mark.parametrize(
    "name, itk", [("linear", sitk.sitkLinear), ("nearest", sitk.sitkNearestNeighbor)]
)
def test_the_border_is_simpleitks(rng, name, itk):
    image = volume(rng, 1, *SIZE)
    loc = rng.uniform(-1.0, np.array(SIZE), (200, 3)).astype(np.float32)
    # the ends of the outer half voxels, of which the lower one is inside and the upper
    # one is not, 1e-3 inside and outside of them, and the centres
    for axis in range(3):
        end = SIZE[axis] - 0.5
        for value in (-0.499, -0.501, -0.5, end - 1e-3, end + 1e-3, end, 0.0):
            loc = np.concatenate([loc, [[2.2, 2.3, 2.4]]]).astype(np.float32)
            loc[-1, axis] = value
    ours = warp.sample(image, tf.constant(loc[None]), interpolation=name)[0].numpy()
    expected = itk_sample(image[0].numpy(), loc, itk)
    assert 30 < np.sum(expected == 0.0) < 180
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_half_way_between_two_voxels_the_upper_one_is_the_nearest():
    """As in ITK, at even and odd voxels alike, unlike with rounding to even."""
    image = tf.reshape(tf.range(4.0) + 1.0, [1, 4, 1, 1])
    loc = tf.constant([[[x, 0.0, 0.0] for x in (-0.5, 0.5, 1.5, 2.5)]])
    found = warp.sample(image, loc, interpolation="nearest")
    np.testing.assert_array_equal(found, [[1.0, 2.0, 3.0, 4.0]])


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


@pytest.mark.parametrize("name", warp.INTERPOLATIONS)
def test_far_away_is_the_nearest_border_however_far(way, name):
    image = tf.reshape(tf.range(5.0) + 1.0, [1, 5, 1, 1])
    loc = tf.constant([[[3e9, 0, 0], [-3e9, 0, 0], [3e30, 0, 0]]])
    values = way(lambda loc: warp.sample(image, loc, name, "border"))(loc)
    np.testing.assert_array_equal(values[0], [5.0, 1.0, 5.0])


def test_a_value_worked_out_by_hand():
    # 0..7 at (i, j, k) = 4 i + 2 j + k: at (0.25, 0.5, 0.75) 1 + 1 + 0.75
    image = tf.reshape(tf.range(8.0), [1, 2, 2, 2])
    value = warp.sample(image, tf.constant([[[0.25, 0.5, 0.75]]]))
    assert value[0, 0].numpy() == pytest.approx(2.75)


@pytest.mark.parametrize("boundary", warp.BOUNDARIES)
def test_what_is_no_number_samples_to_none_and_disturbs_no_other(way, boundary):
    """A diverging network must not end the process; infinite is only far away."""
    image = linear_volume(SIZE)
    loc = tf.constant([[[1.0, np.nan, 2], [2, 3, 1], [np.inf, 1, 1]]])
    # given as an argument: XLA must not fold it away
    found = way(lambda loc: warp.sample(image, loc, boundary=boundary))(loc)[0]
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
def test_a_single_voxel_is_seen_from_within_half_a_voxel(name):
    image = tf.reshape([5.0, 7.0], [2, 1, 1, 1])
    loc = tf.constant([[[0.4, -0.5, 0.0], [0.0, 0.6, 0.0]]] * 2)
    values = warp.sample(image, loc, interpolation=name)
    np.testing.assert_array_equal(values, [[5.0, 0.0], [7.0, 0.0]])
    kept = warp.sample(image, loc, interpolation=name, boundary="border")
    np.testing.assert_array_equal(kept, [[5.0, 5.0], [7.0, 7.0]])


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


@pytest.mark.parametrize("size", [(13, 14, 15), (13, 14, 1)])
def test_integrating_a_linear_velocity_gives_its_exponential(size):
    """v = A (x - c) flows to exp(A) (x - c); seven squarings give (1 + A/128)^128."""
    matrix = np.array([[0.1, -0.5, 0.2], [0.6, -0.2, -0.1], [0.1, 0.2, 0.15]])
    if size[2] == 1:
        matrix[2] = matrix[:, 2] = 0.0
    from_centre = warp.reference_grid(size) - tf.constant([6.0, 6.5, size[2] // 2])

    def times(a):
        return tf.linalg.matvec(tf.constant(a, tf.float32), from_centre).numpy()

    found = warp.integrate(tf.constant(times(matrix))[None])[0].numpy()
    inside = np.s_[4:-4, 4:-4] + (np.s_[4:-4] if size[2] > 1 else np.s_[:],)
    squared = np.linalg.matrix_power(np.eye(3) + matrix / 128, 128) - np.eye(3)
    np.testing.assert_allclose(found[inside], times(squared)[inside], atol=1e-4)
    exact = times(scipy.linalg.expm(matrix) - np.eye(3))
    np.testing.assert_allclose(found[inside], exact[inside], atol=0.01)
    assert np.abs(exact - times(matrix))[inside].max() > 0.2  # and is not v itself


def smooth_field(rng, size, amplitude):
    """Return one wave along each axis, of random phases, shape = (1, *size, 3)."""
    phase = rng.uniform(0, 2 * np.pi, (3, 3))
    angle = 2 * np.pi * warp.reference_grid(size).numpy()[..., None] / 20 + phase
    return tf.constant(amplitude * np.sin(angle).mean(axis=-2)[None], tf.float32)


def test_the_opposite_velocity_undoes_the_flow(rng):
    dvf = smooth_field(rng, (16, 17, 18), amplitude=1.5)
    there, back = warp.integrate(dvf), warp.integrate(-dvf)
    inside = np.s_[:, 4:-4, 4:-4, 4:-4]
    np.testing.assert_allclose(warp.compose(there, back)[inside], 0, atol=0.03)
    assert np.abs((there + back)[inside]).max() > 0.15  # negating alone does not


def uncompiled_integrate(dvf, num_steps=7):
    """Scaling and squaring in plain TensorFlow, from `sample` alone."""
    ddf = dvf / 2.0**num_steps
    grid = warp.reference_grid(tuple(dvf.shape[1:4]))
    for _ in range(num_steps):
        ddf = ddf + warp.sample(ddf, grid + ddf, boundary="border")
    return ddf


@pytest.mark.parametrize("size", [SIZE, (5, 6, 1)])
def test_integration_and_its_gradient_equal_plain_tensorflows(rng, size):
    dvf = volume(rng, 2, *size, 3)
    ours = tf.function(lambda x: value_and_gradients(warp.integrate, x))(dvf)
    theirs = value_and_gradients(uncompiled_integrate, dvf)
    assert_all_close(ours, theirs, tolerance=1e-4)


def test_composition_runs_inside_compiled_functions_too(rng):
    """Its gradient is taken outside and inside of them."""
    dvf = volume(rng, 1, *SIZE, 3)
    inside = tf.function(lambda x: warp.integrate(x, 1), jit_compile=True)
    around = tf.function(lambda x: value_and_gradients(inside, x), jit_compile=True)
    theirs = value_and_gradients(lambda x: uncompiled_integrate(x, 1), dvf)
    assert_all_close(tf.function(lambda x: value_and_gradients(inside, x))(dvf), theirs)
    assert_all_close(around(dvf), theirs)


def test_fields_of_a_batch_of_unknown_size_are_integrated(rng):
    dvf = volume(rng, 3, *SIZE, 3)
    specs = [tf.TensorSpec([None, *SIZE, 3])]
    value = tf.function(warp.integrate, input_signature=specs)
    both = tf.function(
        lambda x: value_and_gradients(warp.integrate, x), input_signature=specs
    )
    theirs = value_and_gradients(uncompiled_integrate, dvf)
    assert_all_close(both(dvf), theirs, tolerance=1e-4)
    for size in (1, 3):
        np.testing.assert_allclose(value(dvf[:size]), theirs[0][:size], atol=1e-4)
    assert value.experimental_get_tracing_count() == 1


def test_both_gradients_of_a_composition_equal_finite_differences(rng):
    inner = inner_points(rng, batch=1, count=8, size=(2, 2, 2), dtype=tf.float64)
    inner = tf.reshape(inner, [1, 2, 2, 2, 3]) - 0.5  # nobody leaves its cell
    outer = tf.constant(rng.standard_normal((1, 2, 2, 2, 3)))
    ours, numerical = tf.test.compute_gradient(warp.compose, [outer, inner])
    for a, b in zip(ours, numerical, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)


def test_composition_is_compiled_once_per_shape(rng):
    """Wherever it is called from, and for all squarings of an integration."""
    fields = [volume(rng, 1, 4, 3, 2, 3) for _ in range(3)]
    before = warp._composed.experimental_get_tracing_count()
    for field in fields:
        warp.compose(field, field)
        tf.function(warp.integrate)(field)
    assert warp._composed.experimental_get_tracing_count() == before + 1
    graph = warp._composed.get_concrete_function(*fields[:2])
    assert graph.function_def.attr["_XlaMustCompile"].b


def test_the_displaced_grid_is_the_grid_and_the_field(way, rng):
    ddf = volume(rng, 2, *SIZE, 3)
    expected = warp.reference_grid(SIZE) + ddf
    np.testing.assert_array_equal(way(warp.displaced_grid)(ddf), expected)


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


@pytest.mark.parametrize(
    "shapes", [[SIZE, (1, 2, 3)], [(1, *SIZE), (1, 2, 2)], [(2, *SIZE), (1, 2, 3)]]
)
def test_wrong_shapes_are_refused_by_name(shapes):
    with pytest.raises(ValueError, match=r"expected a volume .* got \("):
        warp.sample(*[tf.zeros(shape) for shape in shapes])


def test_coordinates_of_half_precision_are_refused():
    ddf = tf.zeros([1, *SIZE, 3], tf.bfloat16)
    with pytest.raises(ValueError, match="expected locations .* got bfloat16"):
        warp.warp(tf.zeros([1, *SIZE]), ddf)


def test_arrays_are_taken_and_types_that_differ_are_refused_with_both_named(rng):
    volume, ddf = rng.random((1, 4, 5, 6)), np.zeros((1, 4, 5, 6, 3))
    np.testing.assert_allclose(warp.warp(volume, ddf), volume)
    np.testing.assert_allclose(
        warp.warp((9 * volume).astype(np.uint8), ddf, "nearest"), np.floor(9 * volume)
    )
    with pytest.raises(ValueError, match="got float32 and float64. Cast one of them"):
        warp.warp(volume.astype(np.float32), ddf)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f: warp.compose(f, f[:, 1:]), "one grid.*outer of .* and inner of "),
        (lambda f: warp.compose(f[0], f[0]), r"outer: expected .* \(4, 3, 2, 3\)"),
        (lambda f: warp.integrate(f[..., :2]), r"dvf: expected .* \(1, 4, 3, 2, 2\)"),
        (lambda f: warp.integrate(f, -1), "num_steps: expected .* >= 0, got -1"),
        (lambda f: warp.integrate(f, 2.5), r"num_steps: expected .* >= 0, got 2\.5"),
        (lambda f: warp.integrate(f, True), "num_steps: expected .* >= 0, got True"),
        (lambda f: warp.warp(f[..., 0], f[0]), r"ddf: expected .* \(4, 3, 2, 3\)"),
        (lambda f: warp.warp(f[..., 0], f[..., :2]), "singleton axis"),
        (lambda f: warp.sample(f[..., 0], f[0, 0, 0, 0, 0]), r"\(batch, ..., 3\)"),
    ],
)
def test_what_is_no_field_is_refused_in_words(call, message):
    with pytest.raises(ValueError, match=message):
        call(tf.zeros((1, 4, 3, 2, 3)))


@pytest.mark.parametrize("name", ["warp", "compose"])
def test_batches_of_two_sizes_are_refused_when_a_graph_learns_them(rng, name):
    unknown = [None, *SIZE, 3]
    call = getattr(warp, name)
    function = tf.function(call, input_signature=[tf.TensorSpec(unknown)] * 2)
    fields = tf.constant(rng.random((2, *SIZE, 3)), tf.float32)
    np.testing.assert_allclose(function(fields, fields), call(fields, fields))
    for a, b in ((fields, fields[:1]), (fields[:1], fields)):
        with pytest.raises(tf.errors.InvalidArgumentError, match="as many volumes"):
            function(a, b)
    # what the two sizes would break runs after the check, not beside it
    broken = ("GatherV2", "PartitionedCall", "StatefulPartitionedCall")
    operations = function.get_concrete_function().graph.get_operations()
    behind = [_ancestors(op) for op in operations if op.type in broken]
    assert behind and all("Assert" in types for types in behind)


def _ancestors(op):
    """Return the types of all operations that must run before one ends."""
    seen, ahead = set(), [op]
    while ahead:
        op = ahead.pop()
        if op not in seen:
            seen.add(op)
            ahead += [*op.control_inputs, *(x.op for x in op.inputs)]
    return {op.type for op in seen}
