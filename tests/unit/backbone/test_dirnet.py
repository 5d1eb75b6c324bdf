"""Tests of deepreg_meta/backbone/dirnet.py; reference: SciPy's B-splines."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.interpolate import BSpline

from deepreg_meta.backbone.dirnet import DIRNet, bspline_matrix, cubic_bspline
from tests.helpers import randomize

LENGTHS = [(17, 4), (16, 8), (20, 16), (5, 2)]  # voxels, spacing


def images(rng, size):
    return tf.constant(rng.normal(size=(2, *size, 2)), tf.float32)


@pytest.mark.parametrize("size", [(16, 16, 1), (16, 16, 16)])
def test_the_weights_are_those_of_its_layers(size):
    """Four convolutions of 3 and two of 1 with 16 kernels, and the last one of 1."""
    model = DIRNet(size)
    model(tf.zeros([1, *size, 2]))
    ndims = 3 - size.count(1)
    by_hand = 3**ndims * (2 * 16 + 3 * 16 * 16) + 2 * 16 * 16 + 16 * 3 + 6 * 16 + 3
    assert model.count_params() == by_hand == {2: 7_859, 3: 22_259}[ndims]


# ---- the spline ----


def test_the_basis_is_scipys():
    distances = np.linspace(-2.5, 2.5, 101)
    reference = BSpline.basis_element([-2, -1, 0, 1, 2], extrapolate=False)
    expected = np.nan_to_num(reference(distances))
    np.testing.assert_allclose(cubic_bspline(distances), expected, atol=1e-15)
    assert cubic_bspline(0.0) == pytest.approx(2 / 3)


@pytest.mark.parametrize("length, spacing", LENGTHS)
def test_the_curve_is_scipys_with_control_points_in_the_centres(rng, length, spacing):
    """Those beyond the ends go on in a line."""
    count = -(-length // spacing)
    inside = rng.normal(size=count)
    first, last = inside[1] - inside[0], inside[-1] - inside[-2]
    before = [inside[0] - 2 * first, inside[0] - first]
    after = [inside[-1] + last, inside[-1] + 2 * last]
    centre = (spacing - 1) / 2  # of the first control point's voxels
    knots = centre + spacing * np.arange(-4.0, count + 4)
    curve = BSpline(knots, [*before, *inside, *after], 3)
    expected = curve(np.arange(length))
    np.testing.assert_allclose(bspline_matrix(length, spacing) @ inside, expected)


@pytest.mark.parametrize("length, spacing", LENGTHS)
def test_the_weights_of_a_voxel_are_a_partition_of_unity(length, spacing):
    rows = bspline_matrix(length, spacing)
    np.testing.assert_allclose(rows.sum(axis=1), 1.0)


def test_a_single_control_point_is_a_constant():
    np.testing.assert_allclose(bspline_matrix(6, 8), np.ones((6, 1)))
    assert bspline_matrix(1, 8) is None


@pytest.mark.parametrize("size", [(9, 16, 12), (13, 10, 1)])
def test_linear_control_points_give_a_linear_field(rng, size):
    """Exactly, up to the border, and constant ones a constant field."""
    model = DIRNet(size, num_poolings=2)
    slopes, offset = rng.normal(size=(3, 3)), rng.normal(size=3)

    def field(*axes):
        return np.stack(np.meshgrid(*axes, indexing="ij"), -1) @ slopes + offset

    expected = field(*[np.arange(length) for length in size])
    points = field(*[[0] if n == 1 else np.arange(0, n, 4) + 1.5 for n in size])
    found = model.densify(tf.constant(points[None]))
    np.testing.assert_allclose(found[0], expected, atol=1e-12)


def test_a_control_point_moves_its_neighbourhood_alone():
    """Less than two spacings around it."""
    model = DIRNet((72, 1, 1), num_poolings=3)
    points = np.zeros((1, 9, 1, 1, 3))
    points[0, 4] = 1.0  # at 4 * 8 + 3.5
    found = model.densify(tf.constant(points))[0, :, 0, 0, 0].numpy()
    np.testing.assert_array_equal(np.flatnonzero(found), np.arange(20, 52))
    # half a voxel beside it: 2/3 - t^2 + t^3 / 2 at t = 1/16
    assert found[35] == found[36] == pytest.approx(2 / 3 - 1 / 256 + 1 / 8192)


# ---- the regressor ----


def test_the_regressor_is_that_of_its_description(rng):
    """Convolution, ELU and average pooling by turns; then voxel by voxel."""
    model, x = DIRNet((12, 8, 1), 3, 4, num_poolings=2), images(rng, (12, 8, 1))
    model(x)
    randomize(model)
    y = x[..., 0, :]
    for block in model._encoder:
        kernel, bias = block.weights
        y = tf.nn.elu(tf.nn.conv2d(y, kernel[:, :, 0], 1, "SAME") + bias)
        y = tf.nn.avg_pool2d(y, 2, 2, "VALID")
    for block in model._pointwise:
        kernel, bias = block.weights
        y = tf.nn.elu(y @ kernel[0, 0, 0] + bias)
    kernel, bias = model._heads[0].weights
    expected = y @ kernel[0, 0, 0] + bias
    found = model.control_points(x)
    assert found.shape == (2, 3, 2, 1, 3) and np.std(expected) > 0.01
    np.testing.assert_allclose(found[..., 0, :], expected, atol=1e-5)
    np.testing.assert_allclose(model(x), model.densify(found), atol=1e-6)


@pytest.mark.parametrize("num_poolings, spacing", [(1, 2), (3, 8), (4, 16)])
def test_the_spacing_is_two_to_the_number_of_poolings(rng, num_poolings, spacing):
    size = (33, 20, 1)
    model = DIRNet(size, num_channel_initial=2, num_poolings=num_poolings)
    assert model.spacing == spacing
    expected = (2, -(-33 // spacing), -(-20 // spacing), 1, 3)
    assert model.control_points(images(rng, size)).shape == expected


def test_the_first_field_is_zero(rng):
    np.testing.assert_array_equal(DIRNet((9, 7, 1))(images(rng, (9, 7, 1))), 0)


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(num_poolings=0), "num_poolings: expected an integer >= 1, got 0"),
        (dict(num_pointwise=-1), "num_pointwise: expected an integer >= 0, got -1"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=f"train.backbone.{message}"):
        DIRNet((8, 8, 1), **options)
