"""Tests of mini-batches: what training and adaptation see, and what they must not."""

import numpy as np
import pytest
import tensorflow as tf
from deepreg.model.layer_util import resize3d

from deepreg_meta.dataset import frame_mask
from deepreg_meta.dataset.augmentation import random_affine
from deepreg_meta.dataset.gaussian_field import FieldOptions
from deepreg_meta.layer.warp import apply_affine, reference_grid, sample
from deepreg_meta.model.alignment import MODES, soft_centroid
from deepreg_meta.model.episode import BatchDrawer
from deepreg_meta.model.registration import RegistrationLoss, locations
from deepreg_meta.model.task import DrawOptions, Task
from tests.helpers import draw_training as train
from tests.helpers import eager

MOVING, FIXED, AXIS = (9, 10, 8), (8, 11, 9), 1
LABELED = dict(
    image=dict(name="ssd", weight=0.1),
    label=dict(name="multi_scale_dice", sigmas_mm=[0, 2]),
)
FIELD = FieldOptions(sigma=0.8, num_centers=4, width=(4.0, 6.0), reference=None)
DICE = dict(label=dict(name="multi_scale_dice", sigmas_mm=[0]))
SSD = dict(image=dict(name="ssd"))


def ball(shape, centre, radius):
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    distance = np.linalg.norm(grid - np.array(centre), axis=-1)
    return np.clip(radius + 0.5 - distance, 0, 1).astype(np.float32)


def make_task(rng, num_labels=3, labeled=True, **changes):
    """Return a pair: a gland, two landmarks and one channel of padding."""

    def volumes(shape, centre):
        labels = [ball(shape, centre, 3.0)]
        labels += [ball(shape, np.add(centre, d), 1.0) for d in ((1, 0, 0), (0, -1, 1))]
        labels = np.stack([*labels[:num_labels], np.zeros(shape, np.float32)])
        image = rng.uniform(0.2, 1.0, shape).astype(np.float32)
        return image, labels if labeled else np.zeros((1, 1, 1, 1), np.float32)

    moving, fixed = volumes(MOVING, (4.5, 4.0, 3.5)), volumes(FIXED, (3.5, 5.2, 4.0))
    values = dict(
        moving_image=moving[0],
        fixed_image=fixed[0],
        moving_labels=moving[1],
        fixed_labels=fixed[1],
        num_labels=np.int32(num_labels if labeled else 0),
        moving_affine=np.eye(4, dtype=np.float32),
        fixed_affine=np.diag([1.1, 0.9, 1.0, 1.0]).astype(np.float32),
        moving_spacing=np.float32([1.0, 1.2, 0.8]),
        fixed_spacing=np.float32([1.1, 0.9, 1.0]),
    )
    values = {k: tf.constant(v) for k, v in (values | changes).items()}
    return Task(**values)


def make_drawer(loss=LABELED, labeled=True, **options):
    options = dict(align="centroid", frames=(2, 4), frame_axis=AXIS) | options
    loss = RegistrationLoss(loss, labeled)
    return BatchDrawer(DrawOptions(**options), loss, MOVING, FIXED)


def adapt(drawer, task, num_seen, label=0, compiled=False):
    """Draw what an update of adaptation sees."""
    with eager(not compiled):
        return drawer.adaptation(task, drawer.constants(task), label, num_seen)


def shown_slices(image):
    """Return, for each batch element, the slices with anything in them."""
    return np.any(np.asarray(image) != 0.0, axis=(1, 3))


def assert_same(a, b):
    tf.nest.map_structure(np.testing.assert_array_equal, a, b)


def assert_close(a, b):
    """Compare numbers to rounding; what is missing is missing in both."""

    def compare(x, y):
        if x is not None or y is not None:
            np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5)

    tf.nest.map_structure(compare, a, b)


def hide_changes(rng, task, slices):
    """
    Change the fixed image and all labels on the slices that were not seen.

    The gland's first and last slice, which place the sweep, stay what they are.
    """
    hidden = 1.0 - frame_mask.expand_frame_mask(slices, FIXED, AXIS)[0].numpy()
    first, last = frame_mask.label_extent(task.fixed_labels[:1], AXIS)[0].numpy()
    labels = task.fixed_labels.numpy()
    noise = rng.uniform(0.0, 0.49, labels.shape)  # below 0.5: outside the gland
    noise[0, :, first : last + 1] = rng.uniform(
        0.5, 1.0, noise[0, :, first : last + 1].shape
    )
    image = task.fixed_image.numpy()
    return task._replace(
        fixed_image=tf.constant(np.where(hidden, rng.random(FIXED), image), tf.float32),
        fixed_labels=tf.constant(np.where(hidden, noise, labels), tf.float32),
    )


def test_training_masks_the_image_and_keeps_the_label_complete(rng):
    task, drawer = make_task(rng, num_labels=1), make_drawer(batch_size=6)
    batch = train(drawer, task)
    slices = shown_slices(batch.fixed_input)
    assert set(slices.sum(axis=1)) <= {2, 3, 4} and len(np.unique(slices, axis=0)) > 2
    for image, kept in zip(batch.fixed_input.numpy(), slices, strict=True):
        np.testing.assert_array_equal(image[:, kept], task.fixed_image.numpy()[:, kept])
    whole = tf.repeat(task.fixed_labels[:1], 6, axis=0)
    assert_close(
        batch.label_target,
        drawer.loss.prepare_label(whole, None, task.fixed_spacing),
    )
    np.testing.assert_array_equal(batch.label_mask, np.ones((6, *FIXED)))


@pytest.mark.parametrize(
    "label", [dict(name="multi_scale_dice", sigmas_mm=[0]), dict(name="jaccard")]
)
def test_training_compares_images_where_they_are_shown_and_labels_everywhere(
    rng, label
):
    """A field has the losses that it would have with each of them alone."""
    task, drawer = make_task(rng), make_drawer(dict(SSD, label=label), batch_size=2)
    batch = train(drawer, task)
    ddf = tf.constant(rng.normal(size=(2, *FIXED, 3)), tf.float32)
    parts = drawer.loss.compute(ddf, batch)
    loc = locations(ddf, batch.matrix, batch.offset)
    warped = sample(batch.moving_image, loc).numpy()
    assert np.max(sample(batch.moving_label, loc)) > 0.5
    shown = shown_slices(batch.fixed_input)[:, None, :, None]
    assert 0 < shown.mean() < 0.6
    expected = np.mean((batch.fixed_input - np.where(shown, warped, 0)) ** 2)
    np.testing.assert_allclose(parts["image"], expected, rtol=1e-5)
    alone = RegistrationLoss(dict(label=label), labeled=True)
    whole = batch._replace(loss_mask=None, label_mask=None)
    np.testing.assert_allclose(
        parts["label"], alone.compute(ddf, whole)["label"], rtol=1e-6
    )


def test_training_without_labels_masks_the_image_loss_too(rng):
    task = make_task(rng, labeled=False)
    drawer = make_drawer(SSD, labeled=False, align="center", batch_size=3)
    batch = train(drawer, task)
    np.testing.assert_array_equal(
        shown_slices(batch.loss_mask), shown_slices(batch.fixed_input)
    )
    assert set(shown_slices(batch.loss_mask).sum(axis=1)) <= {2, 3, 4}


def test_one_seed_one_draw_and_another_seed_another(rng):
    task, drawer = make_task(rng), make_drawer(batch_size=4, affine_scale=0.2)
    first = train(drawer, task, seed=1)
    assert_same(first, train(drawer, task, seed=1))
    other = train(drawer, task, seed=2)
    for field in ("fixed_input", "moving_input", "matrix", "offset"):
        assert np.any(getattr(first, field) != getattr(other, field))
    assert len(np.unique(first.matrix.numpy()[:, 0, 0])) == 4


def test_a_compiled_draw_repeats_with_its_seed_and_keeps_the_same_laws(rng):
    # its numbers are not the eager ones: XLA has a random generator of its own
    task = make_task(rng)
    drawer = make_drawer(batch_size=4, affine_scale=0.2, align="sections")
    batch = train(drawer, task, seed=1, compiled=True)
    assert_same(batch, train(drawer, task, seed=1, compiled=True))
    other = train(drawer, task, seed=2, compiled=True)
    assert np.all(batch.matrix != other.matrix)
    assert set(shown_slices(batch.fixed_input).sum(axis=1)) <= {2, 3, 4}
    locations = apply_affine(reference_grid(FIXED)[None], batch.matrix, batch.offset)
    expected = sample(batch.moving_image, locations)
    np.testing.assert_allclose(batch.moving_input, expected, atol=1e-4)


def test_every_label_is_drawn_equally_often_padding_never_and_both_sides_agree(rng):
    def marked(shape):  # each voxel of channel i is (i + 1) / 8
        values = np.arange(1, 5, dtype=np.float32) / 8
        return values[:, None, None, None] * np.ones((1, *shape), np.float32)

    task = make_task(rng, moving_labels=marked(MOVING), fixed_labels=marked(FIXED))
    batch = train(make_drawer(DICE, batch_size=300, frames=None, align="center"), task)
    fixed = tf.reshape(batch.label_target.overlap, [300, -1])[:, 0]
    np.testing.assert_array_equal(batch.moving_label[:, 0, 0, 0], fixed)
    values, counts = np.unique(fixed, return_counts=True)
    np.testing.assert_array_equal(values, [1 / 8, 2 / 8, 3 / 8])
    np.testing.assert_allclose(counts / 300, 1 / 3, atol=0.11)  # 4 standard errors


def test_augmentation_moves_image_and_label_alike(rng):
    task = make_task(rng, num_labels=1)
    task = task._replace(fixed_image=task.fixed_labels[0])
    drawer = make_drawer(DICE, batch_size=3, frames=None, affine_scale=0.3)
    batch = train(drawer, task)
    label = tf.reshape(batch.label_target.overlap, [3, *FIXED])
    np.testing.assert_allclose(batch.fixed_input, label, atol=1e-6)
    assert np.max(np.abs(label - task.fixed_labels[0])) > 0.1


def test_augmented_centroids_still_meet(rng):
    task = make_task(rng, num_labels=1)
    drawer = make_drawer(DICE, batch_size=4, frames=None, affine_scale=0.2)
    batch = train(drawer, task)
    fixed = tf.reshape(batch.label_target.overlap, [4, *FIXED])
    point = soft_centroid(fixed, tf.zeros([3]))[:, None]
    mapped = apply_affine(point, batch.matrix, batch.offset)[:, 0]
    moving = soft_centroid(task.moving_labels[:1], tf.zeros([3]))
    np.testing.assert_allclose(mapped, tf.repeat(moving, 4, axis=0), atol=1e-3)


def test_each_side_has_an_affine_map_of_its_own_about_its_own_centre(rng):
    """Without an alignment the matrix of the mini-batch is that of the moving side."""
    options = dict(align="corner", frames=None, batch_size=3, affine_scale=0.2)
    batch = train(make_drawer(DICE, **options), make_task(rng), seed=1)
    seeds = tf.random.experimental.stateless_split(tf.constant([1, 5]), 4)
    own = random_affine(seeds[0], 3, MOVING, 0.2)
    np.testing.assert_allclose(batch.matrix, own[0], atol=1e-6)
    np.testing.assert_allclose(batch.offset, own[1], atol=1e-5)
    for other in (
        random_affine(seeds[1], 3, MOVING, 0.2),
        random_affine(seeds[0], 3, FIXED, 0.2),
    ):
        assert np.abs(other[1] - own[1]).max() > 0.05


def test_training_draws_its_frames_within_the_gland_as_it_was_augmented(rng):
    task = make_task(rng, num_labels=1)
    drawer = make_drawer(DICE, batch_size=60, affine_scale=0.5)
    batch = train(drawer, task)
    label = tf.reshape(batch.label_target.overlap, [60, *FIXED])
    extent = frame_mask.label_extent(label, AXIS).numpy()
    slices = shown_slices(batch.fixed_input)
    for kept, (first, last) in zip(slices, extent, strict=True):
        assert kept[first : last + 1].sum() == kept.sum()
    first, last = drawer.constants(task).extent[0].numpy()
    shown = np.flatnonzero(slices.any(axis=0))
    assert shown[0] < first or shown[-1] > last  # of the gland as it is in the file


@pytest.mark.parametrize("align", ["centroid", "sections"])
@pytest.mark.parametrize("draw", ["training", "all frames", "three frames"])
def test_the_label_that_aligns_is_the_channel_asked_for(rng, align, draw):
    """Two channels that change places, and are asked for by their new numbers."""
    task, found = make_task(rng), []
    order = [1, 0, *range(2, task.fixed_labels.shape[0])]
    swapped = task._replace(
        moving_labels=tf.gather(task.moving_labels, order),
        fixed_labels=tf.gather(task.fixed_labels, order),
    )
    num_seen = None if draw == "all frames" else 3
    for label, own in ((0, task), (1, swapped), (0, swapped)):
        drawer = make_drawer(align=align, align_label=label)
        is_training = draw == "training"
        found.append(
            train(drawer, own, seed=3) if is_training else adapt(drawer, own, num_seen)
        )
    np.testing.assert_array_equal(found[0].matrix, found[1].matrix)
    np.testing.assert_array_equal(found[0].offset, found[1].offset)
    assert np.abs(found[2].offset - found[0].offset).max() > 0.1


@pytest.mark.parametrize("align", ["centroid", "sections"])
def test_training_aligns_by_the_frames_it_shows_and_nothing_else(rng, align):
    task, drawer = make_task(rng, num_labels=1), make_drawer(align=align)
    batch = train(drawer, task, seed=3)
    slices = tf.constant(shown_slices(batch.fixed_input), tf.float32)
    changed = train(drawer, hide_changes(rng, task, slices), seed=3)
    for field in ("matrix", "offset", "moving_input", "fixed_input"):
        np.testing.assert_array_equal(getattr(changed, field), getattr(batch, field))
    # the alignment depends on the frames that are drawn
    offsets = [train(drawer, task, seed).offset.numpy() for seed in range(3)]
    assert np.ptp(offsets, axis=0).max() > 0.05


def test_the_network_sees_the_moving_image_as_the_alignment_shows_it(rng):
    task, grid = make_task(rng), reference_grid(FIXED)[None]
    for batch in (
        train(make_drawer(batch_size=2, affine_scale=0.1), task),
        adapt(make_drawer(), task, 3),
    ):
        locations = apply_affine(grid, batch.matrix, batch.offset)
        expected = sample(batch.moving_image, locations)
        np.testing.assert_allclose(batch.moving_input, expected, atol=1e-4)


def test_stretch_shows_the_moving_image_as_deepreg_does(rng):
    task = make_task(rng)
    batch = adapt(make_drawer(stretch=True), task, None)
    expected = resize3d(task.moving_image[None, ..., None], FIXED)[..., 0]
    np.testing.assert_allclose(batch.moving_input, expected, atol=1e-6)


def test_adaptation_masks_image_label_and_losses_alike(mode, rng):
    task, drawer = make_task(rng), make_drawer()
    batch = mode(lambda: adapt(drawer, task, tf.constant(3)))()
    extent = frame_mask.label_extent(task.fixed_labels[:1], AXIS)
    slices = frame_mask.sweep_frame_mask(3, 4, extent, FIXED[AXIS])
    mask = frame_mask.expand_frame_mask(slices, FIXED, AXIS)
    assert np.sum(slices) == 3
    np.testing.assert_array_equal(batch.loss_mask, mask)
    np.testing.assert_array_equal(batch.fixed_input, task.fixed_image * mask)
    assert_close(
        batch.label_target,
        drawer.loss.prepare_label(task.fixed_labels[:1], mask, task.fixed_spacing),
    )


@pytest.mark.parametrize("align", ["center", "sections"])
def test_a_compiled_draw_of_adaptation_is_the_eager_one_to_rounding(rng, align):
    task, drawer = make_task(rng), make_drawer(align=align)
    found = adapt(drawer, task, 3, compiled=True)
    assert_close(found, adapt(drawer, task, 3))
    assert np.ptp(found.moving_input) > 0.5 and np.ptp(found.fixed_input) > 0.5


def test_one_trace_draws_for_every_update_and_every_pair(rng, monkeypatch):
    """Whatever the numbers are written as; a limit of frames or none is another one."""
    traces, own = [], BatchDrawer._adaptation

    def counting(self, *args):
        traces.append(args[-1])
        return own(self, *args)

    monkeypatch.setattr(BatchDrawer, "_adaptation", counting)
    drawer = make_drawer()
    for _ in range(2):
        task = make_task(rng)
        constants = drawer.constants(task)
        for number in (2, 3, tf.constant(4), np.int64(2)):
            for label in (0, 1, tf.constant(2)):
                drawer.adaptation(task, constants, label, number)
    assert len(traces) == 1
    drawer.adaptation(task, constants, 0, None)
    assert len(traces) == 2 and traces[1] is None


def test_the_image_that_adapts_is_prepared_once(rng):
    """For its loss, within what counts; at every step anew under a moving mask."""
    task, drawer = make_task(rng), make_drawer(dict(image=dict(name="lncc")))
    batch = adapt(drawer, task, 3)
    expected = drawer.loss.prepare_image(task.fixed_image[None], batch.loss_mask)
    assert np.ptp(expected.total) > 0.1
    assert_close(batch.image_target, expected)
    fixed = adapt(drawer, with_masks(task, moving=False), 3)
    expected = drawer.loss.prepare_image(task.fixed_image[None], fixed.loss_mask)
    assert_close(fixed.image_target, expected)
    assert np.max(np.abs(fixed.image_target.total - batch.image_target.total)) > 0.01
    assert adapt(drawer, with_masks(task), 3).image_target is None
    assert adapt(make_drawer(DICE), task, 3).image_target is None


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("align", MODES)
def test_adaptation_knows_nothing_of_the_fixed_image_but_the_frames(
    rng, align, reverse
):
    task = make_task(rng)
    drawer = make_drawer(align=align, reverse=reverse)
    batch = adapt(drawer, task, 2)
    slices = drawer.seen_slices(drawer.constants(task), 2, AXIS)
    changed = hide_changes(rng, task, slices)
    assert np.max(np.abs(changed.fixed_labels - task.fixed_labels)) > 0.4
    assert_same(adapt(drawer, changed, 2), batch)
    # the same change is seen as soon as a frame more is
    later, other = adapt(drawer, task, 3), adapt(drawer, changed, 3)
    assert np.any(later.fixed_input != other.fixed_input)


@pytest.mark.parametrize("align", MODES)
def test_landmarks_never_reach_adaptation(rng, align):
    task, drawer = make_task(rng), make_drawer(align=align)
    labels = {}
    for name in ("fixed_labels", "moving_labels"):
        values = getattr(task, name).numpy()
        values[1:] = rng.random(values[1:].shape)
        labels[name] = tf.constant(values)
    other = task._replace(num_labels=tf.constant(4), **labels)
    for num_seen in (2, 4, None):
        assert_same(adapt(drawer, other, num_seen), adapt(drawer, task, num_seen))


def test_the_chosen_label_adapts(rng):
    task, drawer = make_task(rng), make_drawer(DICE)
    batch = adapt(drawer, task, None, label=2)
    np.testing.assert_array_equal(batch.moving_label[0], task.moving_labels[2])
    overlap = tf.reshape(batch.label_target.overlap, FIXED)
    np.testing.assert_array_equal(overlap, task.fixed_labels[2])


@pytest.mark.parametrize("frames, num_seen", [(None, 2), ((2, 4), None)])
def test_without_frames_everything_is_shown(rng, frames, num_seen):
    task = make_task(rng)
    batch = adapt(make_drawer(frames=frames), task, num_seen)
    np.testing.assert_array_equal(batch.fixed_input[0], task.fixed_image)
    assert batch.loss_mask is None


def test_centroids_of_the_frames_seen_meet_the_moving_centroid(rng):
    task, drawer = make_task(rng), make_drawer()
    batch = adapt(drawer, task, 2)
    seen = soft_centroid(task.fixed_labels[:1] * batch.loss_mask, tf.zeros([3]))
    mapped = apply_affine(seen[:, None], batch.matrix, batch.offset)[0, 0]
    moving = soft_centroid(task.moving_labels[:1], tf.zeros([3]))[0]
    np.testing.assert_allclose(mapped, moving, atol=1e-4)


def test_frames_that_miss_the_gland_are_aligned_by_the_centres(rng):
    labels = make_task(rng).fixed_labels.numpy()
    labels[0, :, 3:8] = 0.0  # seen: 4 of the slices 0 to 10 (1, 4, 6, 9), all empty
    labels[0, :, [0, 10]] = 1.0
    task = make_task(rng, fixed_labels=labels)
    for align in ("centroid", "sections"):
        batch = adapt(make_drawer(align=align), task, 4)
        center = adapt(make_drawer(align="center"), task, 4)
        assert np.any(batch.fixed_input != 0.0)
        np.testing.assert_allclose(batch.offset, center.offset, atol=1e-6)


@pytest.mark.parametrize("align_label", [0, 1])
def test_the_sweep_spans_the_label_that_aligns(rng, align_label):
    """As the frames of training do: slices 0 to 2 of one, 6 to 10 of the other."""
    labels = np.zeros((2, *FIXED), np.float32)
    labels[0, 2:5, 0:3, 2:5] = labels[1, 2:5, 6:11, 2:5] = 1
    task = make_task(rng, fixed_labels=labels, num_labels=2)
    task = task._replace(moving_labels=task.moving_labels[:2])
    drawer = make_drawer(align_label=align_label, frames=(3, 3))
    expected = [[0, 1, 2], [6, 8, 10]][align_label]
    swept = shown_slices(adapt(drawer, task, 3).fixed_input)[0]
    np.testing.assert_array_equal(np.flatnonzero(swept), expected)
    drawn = shown_slices(train(drawer, task).fixed_input)[0]
    assert labels[align_label][:, drawn].sum() == 3 * 9


def test_the_sweep_of_unlabeled_data_spans_the_whole_image(rng):
    task = make_task(rng, labeled=False)
    drawer = make_drawer(SSD, labeled=False, align="center", frames=(1, 11))
    batch = adapt(drawer, task, 5)
    np.testing.assert_array_equal(shown_slices(batch.fixed_input)[0], [1] * 5 + [0] * 6)


def with_masks(task, fixed=True, moving=True):
    """Return the pair with masks of boxes."""
    masks = {}
    for wanted, name, shape in (
        (fixed, "fixed_mask", FIXED),
        (moving, "moving_mask", MOVING),
    ):
        if wanted:
            mask = np.zeros(shape, np.float32)
            mask[2:7, 1:6, 3:] = 1.0
            masks[name] = tf.constant(mask)
    return task._replace(**masks)


@pytest.mark.parametrize("num_seen", [3, None])
def test_masks_restrict_the_losses_to_what_is_shown_within_them(rng, mode, num_seen):
    task, drawer = make_task(rng), make_drawer()
    plain = mode(lambda: adapt(drawer, task, num_seen))()
    masked = with_masks(task)
    batch = mode(lambda: adapt(drawer, masked, num_seen))()
    for name in ("moving_input", "fixed_input", "matrix", "offset"):  # what it sees
        assert_same(getattr(batch, name), getattr(plain, name))
    frames = np.ones((1, *FIXED)) if num_seen is None else plain.loss_mask
    shown = tf.constant(frames * masked.fixed_mask)
    assert 0 < np.sum(shown) < np.sum(frames)
    np.testing.assert_array_equal(batch.loss_mask, shown)
    np.testing.assert_array_equal(batch.shown, frames)
    assert_close(
        batch.label_target,
        drawer.loss.prepare_label(task.fixed_labels[:1], shown, task.fixed_spacing),
    )
    np.testing.assert_array_equal(batch.moving_mask.mask[0], masked.moving_mask)
    np.testing.assert_array_equal(batch.moving_mask.spacing_mm, task.fixed_spacing)
    # whole: the mask of the moving image cuts it at every step anew
    np.testing.assert_array_equal(batch.moving_mask.fixed_label, task.fixed_labels[:1])


def test_each_mask_is_there_alone_or_not_at_all(rng):
    task, drawer = make_task(rng), make_drawer()
    plain = adapt(drawer, task, 3)
    assert plain.shown is None and plain.moving_mask is None
    fixed = adapt(drawer, with_masks(task, moving=False), 3)
    assert fixed.shown is not None and fixed.moving_mask is None
    moving = adapt(drawer, with_masks(task, fixed=False), 3)
    np.testing.assert_array_equal(moving.shown, moving.loss_mask)
    np.testing.assert_array_equal(moving.loss_mask, plain.loss_mask)
    assert_same(moving.label_target, plain.label_target)


def test_the_label_under_a_moving_mask_is_the_one_that_adapts(rng):
    task = with_masks(make_task(rng), fixed=False)
    batch = adapt(make_drawer(), task, None, label=2)
    np.testing.assert_array_equal(
        batch.moving_mask.fixed_label[0], task.fixed_labels[2]
    )


def test_training_knows_no_masks(rng):
    task, drawer = make_task(rng), make_drawer(batch_size=2)
    assert_same(train(drawer, with_masks(task)), train(drawer, task))


BOX = [[2, 7], [0, 11], [1, 6]]  # of the voxels that were not added


def padded(task, value=0.0):
    """:return: the pair with padding in the fixed image, and where there is none."""
    inside = np.zeros(FIXED, bool)
    inside[2:7, :, 1:6] = True
    image = tf.constant(np.where(inside, task.fixed_image, value), tf.float32)
    box = tf.constant(BOX, tf.float32)
    return task._replace(fixed_image=image, fixed_inside=box), inside[None]


def loss_and_gradient(drawer, batch):
    field = tf.random.stateless_normal([len(batch.matrix), *FIXED, 3], [0, 1])
    with tf.GradientTape() as tape:
        tape.watch(field)
        value = drawer.loss.compute(field, batch)["total"]
    return value, tape.gradient(value, field)


@pytest.mark.parametrize("name", ["ssd", "local_ncc", "gncc"])
@pytest.mark.parametrize("draw", ["training", "adaptation"])
def test_padding_counts_in_no_loss(rng, draw, name):
    """Whatever it holds, it changes neither value nor gradient; the images do."""
    task = make_task(rng)
    drawer = make_drawer(LABELED | dict(image=dict(name=name)), frames=None)

    def found(one):
        if draw == "training":
            return loss_and_gradient(drawer, train(drawer, one))
        return loss_and_gradient(drawer, adapt(drawer, one, None))

    (dark, inside), (bright, _) = padded(task), padded(task, 5.0)
    assert_same(found(dark), found(bright))
    value, gradient = found(dark)
    assert np.abs(gradient).max() > 1e-4
    np.testing.assert_array_equal(np.asarray(gradient)[~inside], 0.0)
    plain = found(dark._replace(fixed_inside=None))
    assert abs(float(value - plain[0])) > 1e-4
    other = dark._replace(fixed_image=dark.fixed_image * dark.fixed_image)
    assert abs(float(value - found(other)[0])) > 1e-4


@pytest.mark.parametrize("augmentation", [{}, dict(affine_scale=0.2), "field"])
def test_padding_is_augmented_with_the_image(rng, augmentation):
    if augmentation == "field":
        augmentation = dict(fixed_field=FIELD)
    task, inside = padded(make_task(rng, num_labels=1))
    task = task._replace(fixed_image=tf.constant(inside[0], tf.float32))
    drawer = make_drawer(SSD, frames=None, batch_size=3, **augmentation)
    batch = train(drawer, task)
    assert set(np.unique(batch.loss_mask)) == {0.0, 1.0}
    # the image of what is inside is its mask, but for what is interpolated
    sure = np.abs(batch.fixed_input - 0.5) > 0.499
    np.testing.assert_array_equal(batch.loss_mask.numpy()[sure],
                                  np.rint(batch.fixed_input)[sure])  # fmt: skip
    assert np.mean(sure) > 0.5
    is_moved = np.any(batch.loss_mask.numpy() != inside)
    assert is_moved == bool(augmentation)


def test_no_frame_shows_padding_and_the_network_sees_the_same(rng, mode):
    """In training and adaptation; masks of users restrict further."""
    plain = make_task(rng)
    task, inside = padded(plain)
    drawer = make_drawer()
    batch = mode(lambda: adapt(drawer, task, 3))()
    whole = mode(lambda: adapt(drawer, task._replace(fixed_inside=None), 3))()
    for name in ("moving_input", "fixed_input", "matrix", "offset"):
        assert_same(getattr(batch, name), getattr(whole, name))
    counts = whole.loss_mask.numpy() * inside
    assert 0 < counts.sum() < whole.loss_mask.numpy().sum()
    np.testing.assert_array_equal(batch.loss_mask, counts)
    assert batch.shown is None
    masked = adapt(drawer, with_masks(task), 3)
    np.testing.assert_array_equal(masked.shown, counts)
    expected = counts * with_masks(task).fixed_mask
    np.testing.assert_array_equal(masked.loss_mask, expected)
    batch = train(drawer, task)
    whole = train(drawer, task._replace(fixed_inside=None))
    for name in ("moving_input", "fixed_input", "matrix", "offset"):
        assert_same(getattr(batch, name), getattr(whole, name))
    np.testing.assert_array_equal(batch.loss_mask, whole.loss_mask * inside)
    np.testing.assert_array_equal(batch.label_mask, inside)


def frames_of(drawer, num_steps):
    return [int(drawer.frames_at(tf.constant(i), num_steps)) for i in range(num_steps)]


def test_the_schedule_is_the_papers_one_frame_more_at_each_update():
    # F_min = 2, F_max = 10, N = 8: the last update sees F_max - 1
    assert frames_of(make_drawer(frames=(2, 10)), 8) == [2, 3, 4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize(
    "num_steps, expected",
    [(1, [2]), (3, [2, 3, 4]), (4, [2, 3, 4, 5]), (2, [2, 4])],
)
def test_other_numbers_of_updates_share_the_sweep_out(num_steps, expected):
    # 2 + floor(i (6 - 2) / N)
    assert frames_of(make_drawer(frames=(2, 6)), num_steps) == expected


def test_without_frames_there_is_no_schedule_and_zero_steps_do_not_divide():
    assert make_drawer(frames=None).frames_at(tf.constant(0), tf.constant(4)) is None
    assert int(make_drawer().frames_at(tf.constant(0), tf.constant(0))) == 2
