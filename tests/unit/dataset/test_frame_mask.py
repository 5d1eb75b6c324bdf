"""Tests of sparse frames: random masks, sweeps, and the augmentation layer."""

import numpy as np
import pytest
import tensorflow as tf
from deepreg.registry import REGISTRY

from deepreg_meta.dataset import frame_mask

SIZE = (6, 9, 7)
NUM_SLICES = 12


def extent_of(*pairs):
    return tf.constant(pairs, tf.int32)


def random_mask(seed, frames, extent, num_slices=NUM_SLICES):
    seed = tf.constant([seed, 1])
    return frame_mask.sample_frame_mask(seed, frames, extent, num_slices).numpy()


def sweep(num_seen, num_frames, extent, num_slices=NUM_SLICES, **kwargs):
    """Return the slices that a sweep over one extent has shown."""
    mask = frame_mask.sweep_frame_mask(
        num_seen, num_frames, extent_of(extent), num_slices, **kwargs
    )
    assert set(np.unique(mask)) <= {0.0, 1.0}
    return list(np.flatnonzero(mask[0]))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_extent_is_the_first_and_last_slice_of_the_label(mode, axis):
    label = np.zeros((2, *SIZE), np.float32)
    label[(0, 2, 3, 4)] = label[(0, 4, 6, 5)] = 0.5  # 0.5 counts
    label[(1, 1, 1, 1)] = 1.0
    label[(0, 0, 0, 0)] = 0.49  # below it does not
    extent = mode(frame_mask.label_extent)(tf.constant(label), axis)
    expected = [[[2, 4], [1, 1]], [[3, 6], [1, 1]], [[4, 5], [1, 1]]]
    np.testing.assert_array_equal(extent, expected[axis])


def test_an_empty_label_has_the_extent_of_the_image():
    extent = frame_mask.label_extent(tf.zeros([1, *SIZE]), axis=1)
    np.testing.assert_array_equal(extent, [[0, 8]])


@pytest.mark.parametrize("number", [1, 4, NUM_SLICES])
@pytest.mark.parametrize("extent", [(0, 11), (3, 8), (5, 5), (0, 1), (10, 11)])
def test_exactly_the_number_asked_for_is_kept(number, extent):
    for seed in range(10):
        mask = random_mask(seed, (number, number), extent_of(extent))
        assert set(np.unique(mask)) <= {0.0, 1.0}
        assert mask.sum() == number
        # inside the extent as long as it has slices, then those next to it
        kept = np.flatnonzero(mask[0])
        distance = np.maximum(np.maximum(extent[0] - kept, kept - extent[1]), 0)
        beyond = np.arange(NUM_SLICES)
        beyond = np.maximum(np.maximum(extent[0] - beyond, beyond - extent[1]), 0)
        assert sorted(distance) == sorted(beyond)[:number]


def test_numbers_and_slices_are_drawn_uniformly():
    extent = tf.repeat(extent_of((2, 9)), 3000, axis=0)
    mask = random_mask(0, (2, 4), extent)
    numbers, counts = np.unique(mask.sum(axis=1), return_counts=True)
    np.testing.assert_array_equal(numbers, [2, 3, 4])
    np.testing.assert_allclose(counts / 3000, 1 / 3, atol=0.04)  # 4.6 standard errors
    share = mask.mean(axis=0)  # 3 of 8 slices on average
    np.testing.assert_allclose(share[2:10], 3 / 8, atol=0.04)
    assert share[:2].sum() == share[10:].sum() == 0.0


def test_one_seed_one_mask_and_another_seed_another(mode):
    extent = tf.repeat(extent_of((0, 11)), 4, axis=0)
    draw = mode(lambda seed: frame_mask.sample_frame_mask(seed, (2, 6), extent, 12))
    first, again = draw(tf.constant([7, 3])), draw(tf.constant([7, 3]))
    np.testing.assert_array_equal(first, again)
    assert np.any(first != draw(tf.constant([8, 3])))
    assert len(np.unique(first, axis=0)) == 4  # batch elements differ


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_mask_spreads_over_whole_slices(rng, axis):
    slices = rng.integers(0, 2, (2, SIZE[axis])).astype(np.float32)
    mask = frame_mask.expand_frame_mask(tf.constant(slices), SIZE, axis).numpy()
    assert mask.shape == (2, *SIZE)
    for i in range(SIZE[axis]):
        np.testing.assert_array_equal(
            np.take(mask, i, axis=axis + 1),
            np.broadcast_to(
                slices[:, i, None, None], np.take(mask, i, axis=axis + 1).shape
            ),
        )


def test_all_frames_are_the_identity_and_twice_is_once(rng):
    image = tf.constant(rng.standard_normal((1, *SIZE)), tf.float32)
    every = random_mask(0, (9, 9), extent_of((0, 8)), 9)
    mask = frame_mask.expand_frame_mask(tf.constant(every), SIZE, 1)
    np.testing.assert_array_equal(image * mask, image)
    some = random_mask(0, (3, 3), extent_of((0, 8)), 9)
    mask = frame_mask.expand_frame_mask(tf.constant(some), SIZE, 1)
    np.testing.assert_array_equal(image * mask * mask, image * mask)


def test_the_gradient_on_hidden_frames_is_zero(rng):
    image = tf.constant(rng.standard_normal((1, *SIZE)), tf.float32)
    slices = random_mask(0, (3, 3), extent_of((0, 8)), 9)
    mask = frame_mask.expand_frame_mask(tf.constant(slices), SIZE, 1)
    with tf.GradientTape() as tape:
        tape.watch(image)
        loss = tf.reduce_sum((image * mask - 1.0) ** 2)
    gradient = tape.gradient(loss, image).numpy()
    assert np.all(gradient[:, :, slices[0] == 0.0] == 0.0)
    assert np.all(gradient[:, :, slices[0] == 1.0] != 0.0)


def test_a_sweep_is_spaced_evenly_over_the_extent():
    # 12 slices in 4 shares of 3, of each the middle one
    assert sweep(4, 4, (0, 11)) == [1, 4, 7, 10]
    # 6 slices from 3 to 8 in 3 shares of 2: floor(3 + 1), ...
    assert sweep(3, 3, (3, 8)) == [4, 6, 8]
    assert sweep(1, 1, (2, 8)) == [5]


@pytest.mark.parametrize("num_frames", range(1, NUM_SLICES + 1))
@pytest.mark.parametrize("extent", [(0, 11), (2, 9), (5, 5), (0, 0), (11, 11), (8, 11)])
def test_a_sweep_shows_the_number_asked_for_and_one_more_each_time(num_frames, extent):
    shown = [sweep(seen, num_frames, extent) for seen in range(num_frames + 1)]
    for seen, slices in enumerate(shown):
        assert len(slices) == seen
        assert slices == shown[-1][:seen]  # each is the start of the whole sweep
    steps = np.diff(shown[-1])
    assert np.all(steps >= 1) and (len(steps) == 0 or np.ptp(steps) <= 1)
    length = extent[1] - extent[0] + 1
    if num_frames <= length:  # nothing beyond the extent
        assert extent[0] <= shown[-1][0] and shown[-1][-1] <= extent[1]
    else:  # widened: every slice of the extent is shown
        assert set(range(extent[0], extent[1] + 1)) <= set(shown[-1])


def test_a_short_extent_is_widened_on_both_sides_where_there_is_room():
    assert sweep(3, 3, (5, 5)) == [4, 5, 6]
    assert sweep(5, 5, (4, 5)) == [3, 4, 5, 6, 7]
    assert sweep(3, 3, (0, 0)) == [0, 1, 2]
    assert sweep(3, 3, (11, 11)) == [9, 10, 11]


def test_a_reversed_sweep_shows_the_same_frames_from_the_other_end():
    whole = sweep(5, 5, (1, 9))
    assert sweep(5, 5, (1, 9), reverse=True) == whole
    assert sweep(2, 5, (1, 9), reverse=True) == whole[-2:]
    assert sweep(2, 5, (1, 9)) == whole[:2]


def test_each_batch_element_has_the_sweep_of_its_own_extent(mode):
    extents = extent_of((0, 11), (3, 8))
    sweep_mask = mode(
        lambda seen: frame_mask.sweep_frame_mask(seen, 3, extents, NUM_SLICES)
    )(tf.constant(2))
    assert [list(np.flatnonzero(m)) for m in sweep_mask] == [[2, 6], [4, 6]]


def inputs(rng, batch=3, labeled=True):
    """Return DeepReg's dictionary; the gland spans the slices 2 to 6 of axis 1."""
    fixed = rng.uniform(0.1, 1, (2, batch, *SIZE)).astype(np.float32)
    fixed[1] = 0.0
    fixed[1, :, 1:4, 2:7, 2:5] = 1.0
    data = dict(
        moving_image=tf.constant(rng.uniform(0, 1, (batch, 5, 6, 7)), tf.float32),
        fixed_image=tf.constant(fixed[0]),
        indices=tf.zeros([batch, 1]),
    )
    if labeled:
        data["fixed_label"] = tf.constant(fixed[1])
        data["moving_label"] = data["moving_image"]
    return data


def build(**config):
    return REGISTRY.build_data_augmentation(
        config=dict(name="sparse_frames", frames=[2, 3], axis=1) | config,
        default_args=dict(
            moving_image_size=(5, 6, 7), fixed_image_size=SIZE, batch_size=3
        ),
    )


@pytest.mark.parametrize("labeled", [True, False])
def test_the_registered_layer_masks_the_fixed_image_alone(mode, rng, labeled):
    data = inputs(rng, labeled=labeled)
    layer = build()
    masked = mode(lambda: layer(data))()
    assert set(masked) == set(data)
    for name in set(data) - {"fixed_image"}:
        np.testing.assert_array_equal(masked[name], data[name])
    image, original = masked["fixed_image"].numpy(), data["fixed_image"].numpy()
    for one, whole in zip(image, original, strict=True):
        kept = np.flatnonzero(np.any(one != 0.0, axis=(0, 2)))
        assert 2 <= len(kept) <= 3
        np.testing.assert_array_equal(one[:, kept], whole[:, kept])


def test_the_layer_draws_anew_at_each_call_and_repeats_with_its_seed(rng):
    data = inputs(rng, batch=8)
    one, two, other = build(), build(), build(seed=5)
    first = one(data)["fixed_image"]
    np.testing.assert_array_equal(first, two(data)["fixed_image"])
    assert np.any(first != one(data)["fixed_image"])
    assert np.any(first != other(data)["fixed_image"])


def test_the_layer_draws_anew_in_a_dataset(rng):
    data = inputs(rng, batch=1)
    layer = build()
    dataset = tf.data.Dataset.from_tensors(data).repeat(8).map(layer.call)
    masks = [np.any(x["fixed_image"][0] != 0.0, axis=(0, 2)) for x in dataset]
    assert len(np.unique(masks, axis=0)) > 2


def test_the_configuration_of_the_layer_comes_back(rng):
    layer = build(seed=3, reverse=True, frames=(1, 4))
    again = frame_mask.SparseFrames.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    data = inputs(rng)
    np.testing.assert_array_equal(
        layer(data)["fixed_image"], again(data)["fixed_image"]
    )


@pytest.mark.parametrize(
    "config, message",
    [
        (dict(frames=[3, 2]), r"1 <= F_min <= F_max, got \[3, 2\]"),
        (dict(frames=[0, 2]), r"1 <= F_min <= F_max, got \[0, 2\]"),
        (dict(axis=3), "axis: expected 0, 1 or 2, got 3"),
        (
            dict(frames=[2, 10]),
            r"at most 9 frames, the slices along axis 1, got \[2, 10",
        ),
    ],
)
def test_frames_that_do_not_fit_are_refused(config, message):
    with pytest.raises(ValueError, match=message):
        build(**config)
