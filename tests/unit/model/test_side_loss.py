"""Tests of deepreg_meta/model/side_loss.py."""

import numpy as np
import pytest
import tensorflow as tf

from deepreg_meta.layer.warp import sample
from deepreg_meta.model.field_network import FieldNetwork
from deepreg_meta.model.inner_loop import SIDES, InnerLoop
from deepreg_meta.model.registration import Batch, RegistrationLoss, locations
from deepreg_meta.model.side_loss import SideLoss, averaging_matrix, coarse_batch

FIXED, MOVING = (8, 12, 9), (10, 9, 11)
PLANES = (8, 12, 1), (10, 9, 1)
GRAPHS: set[str] = set()  # none of the tests needs one
LOSS = dict(
    image=dict(name="ssd"), regularization=dict(name="gradient_norm", weight=0.5)
)
BACKBONE = dict(name="fcn_ss", num_channel_initial=2, num_resolutions=3)


def linear(size, slope):
    """:return: an image that is linear in space, shape = (1, *size)."""
    axes = np.meshgrid(*[np.arange(n) for n in size], indexing="ij")
    return tf.constant(np.tensordot(slope, axes, 1)[None], tf.float32)


def make_batch(sizes, matrix, offset, rng=None):
    """:return: a mini-batch without labels, of random images or of linear ones."""
    fixed, moving = sizes
    images = [linear(size, (0.3, -0.2, 0.1)) for size in sizes]
    if rng is not None:
        images = [tf.constant(rng.random((1, *size)), tf.float32) for size in sizes]
    ones = tf.ones([1, *fixed])
    return Batch(
        moving_input=ones,
        fixed_input=images[0],
        matrix=tf.constant(matrix, tf.float32)[None],
        offset=tf.constant([offset], tf.float32),
        moving_image=images[1],
        moving_label=tf.zeros([1, *moving]),
        loss_mask=ones,
        label_target=tf.zeros([1, *fixed]),
    )


def warped(batch, ddf):
    loc = locations(ddf, batch.matrix, batch.offset)
    return sample(batch.moving_image, loc, boundary="border").numpy()


def averaged(volume, factors):
    """:return: means of the cells, of sides that divide."""
    for axis, factor in enumerate(factors):
        shape = list(volume.shape)
        shape[axis + 1 : axis + 2] = [shape[axis + 1] // factor, factor]
        volume = volume.reshape(shape).mean(axis=axis + 2)
    return volume


def test_cells_are_averaged_and_the_last_one_may_be_short():
    expected = [[0.5, 0.5, 0, 0, 0], [0, 0, 0.5, 0.5, 0], [0, 0, 0, 0, 1]]
    np.testing.assert_array_equal(averaging_matrix(5, 2), expected)
    np.testing.assert_array_equal(averaging_matrix(1, 1), [[1]])


@pytest.mark.parametrize(
    "sizes", [((16, 20, 16), (24, 28, 24)), ((16, 20, 1), (24, 28, 1))]
)
@pytest.mark.parametrize("factor", [2, 4])
def test_warping_and_averaging_may_change_places_for_linear_images(sizes, factor):
    """Also with other grids, an affine map and a shift; but for the border."""
    flat = sizes[0][2] == 1
    matrix = [[0.9, 0.1, 0], [-0.05, 0.8, 0], [0, 0, 1 if flat else 1.1]]
    batch = make_batch(sizes, matrix, [0.7, 0.4, 0 if flat else 0.6])
    shift = tf.constant([0.5, 0.25, 0 if flat else -0.25])
    fine = warped(batch, tf.ones([1, *sizes[0], 3]) * shift * factor)
    coarse = coarse_batch(batch, factor)
    size = coarse.fixed_input.shape[1:]
    found = warped(coarse, tf.ones([1, *size, 3]) * shift)
    factors = [1 if n == 1 else factor for n in sizes[0]]
    expected = averaged(fine, factors)
    assert found.shape == expected.shape
    # what reaches into the outer cells is cut off at other places
    inner = tuple(slice(None) if n == 1 else slice(1, n - 1) for n in size)
    assert expected[0][inner].size > 1
    np.testing.assert_allclose(found[0][inner], expected[0][inner], rtol=0, atol=1e-4)
    np.testing.assert_allclose(
        coarse.fixed_input, averaged(batch.fixed_input.numpy(), factors), atol=1e-5
    )


def test_the_coarser_fields_losses_are_weighted_and_added_up(rng):
    """Each that of its field on its own grid."""
    batch = make_batch((FIXED, MOVING), np.eye(3), [1.0, -1.0, 0.5], rng)
    sizes = [(4, 6, 5), (2, 3, 3)]
    fields = [tf.constant(rng.normal(size=(1, *s, 3)), tf.float32) for s in sizes]
    loss = RegistrationLoss(dict(image=dict(name="ssd")), labeled=False)
    parts = [
        loss.compute(field, coarse_batch(batch, factor))["total"]
        for field, factor in zip(fields, (2, 4), strict=True)
    ]
    assert min(parts) > 1e-3
    total = SideLoss(loss, (0.6, 0.3), FIXED)(fields, batch)
    np.testing.assert_allclose(total, 0.6 * parts[0] + 0.3 * parts[1], rtol=1e-6)


def test_labels_take_no_part(rng):
    """Their loss is left out, and without an image loss there is nothing."""
    label = dict(name="multi_scale_dice", sigmas_mm=[0])
    both = RegistrationLoss(dict(LOSS, label=label), labeled=True)
    batch = make_batch((FIXED, MOVING), np.eye(3), [0.0, 0.0, 0.0], rng)
    fields = [tf.constant(rng.normal(size=(1, 4, 6, 5, 3)), tf.float32)]
    plain = RegistrationLoss(LOSS, labeled=False)
    found = [SideLoss(loss, (1.0,), FIXED)(fields, batch) for loss in (both, plain)]
    assert found[0] == found[1]
    with pytest.raises(ValueError, match="train.loss.image: expected an image loss"):
        SideLoss(RegistrationLoss(dict(label=label), labeled=True), (1.0,), FIXED)


def test_a_grid_too_small_for_a_coarser_field_is_told(rng):
    """Bending energy needs five voxels; before any step."""
    bending = dict(image=dict(name="ssd"), regularization=dict(name="bending"))
    loss = RegistrationLoss(bending, labeled=False)
    SideLoss(loss, (1.0,), (12, 12, 10))
    with pytest.raises(ValueError, match="than 12 x 12 x 8 for .*; at 6 x 6 x 4: .*5"):
        SideLoss(loss, (1.0,), (12, 12, 8))


@pytest.mark.parametrize("factor", [2, 4])
def test_the_field_so_far_goes_down_with_the_images(factor):
    """Linear images under a field so far and its inverse on top agree everywhere."""
    size = (16, 20, 24)
    batch = make_batch((size, size), np.eye(3), [0.0, 0.0, 0.0])
    shift = tf.constant([2.0, -3.0, 1.0])
    batch = batch._replace(base=tf.ones([1, *size, 3]) * shift)
    coarse = coarse_batch(batch, factor)
    np.testing.assert_allclose(coarse.base[0, 1, 2, 3], shift / factor)
    loss = RegistrationLoss(dict(image=dict(name="ssd")), labeled=False)
    back = -tf.ones_like(coarse.base) * shift / factor
    assert float(loss.compute(back, coarse)["image"]) < 1e-8
    assert float(loss.compute(tf.zeros_like(back), coarse)["image"]) > 1e-2


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("factor", [2, 4])
def test_frames_that_show_a_part_of_a_cell_show_it_as_bright(factor, masked, rng):
    """
    Images that are equal, and constant across the frames in each cell, have no loss.

    Masks of users take part in neither: the fixed image is shown off them too.
    """
    size = (8, 16, 12)
    cells = rng.uniform(0.5, 1.0, (1, 8, 16 // factor, 12))
    image = tf.constant(np.repeat(cells, factor, axis=2), tf.float32)
    frames = np.zeros((1, *size), np.float32)
    frames[:, :, [0, 1, 4, 6, 7, 9]] = 1
    mask = frames.copy()
    mask[:, :4] = 0
    batch = make_batch((size, size), np.eye(3), [0.0, 0.0, 0.0])._replace(
        fixed_input=image * frames,
        moving_image=image,
        loss_mask=tf.constant(mask if masked else frames),
        shown=tf.constant(frames) if masked else None,
    )
    coarse = coarse_batch(batch, factor)
    assert 0 < np.mean(coarse.loss_mask) < 1
    seen = averaged(frames, [factor] * 3) > 0
    np.testing.assert_allclose(
        coarse.fixed_input.numpy()[seen], coarse.moving_image.numpy()[seen], rtol=1e-5
    )
    np.testing.assert_array_equal(coarse.fixed_input.numpy()[~seen], 0)
    loss = RegistrationLoss(dict(image=dict(name="ssd")), labeled=False)
    field = tf.zeros([*coarse.fixed_input.shape, 3])
    assert float(loss.compute(field, coarse)["image"]) < 1e-9


@pytest.mark.parametrize("sizes", [((8, 12, 9), MOVING), PLANES])
def test_a_step_of_fcn_ss_moves_the_heads_of_all_resolutions(sizes, rng):
    network = FieldNetwork("ddf", BACKBONE, sizes[0])
    loss = RegistrationLoss(dict(image=dict(name="ssd")), labeled=False)
    loop = InnerLoop(network, loss, tf.keras.optimizers.SGD(0.1))
    batch = make_batch(sizes, np.eye(3), [1.0, -0.5, 0.0], rng)
    before = [tf.identity(v) for v in network.trainable_variables]
    parts, ddf = loop.step(batch)
    assert ddf.shape[1:4] == sizes[0]
    np.testing.assert_allclose(parts["total"], parts["image"] + parts[SIDES], rtol=1e-6)
    assert parts[SIDES] > 1e-3
    heads = [v for h in network.backbone._heads[:2] for v in h.trainable_variables]
    changed = {
        v.ref()
        for v, old in zip(network.trainable_variables, before, strict=True)
        if np.abs(v - old).max() > 0
    }
    assert heads and all(v.ref() in changed for v in heads)
