"""Tests of mini-batches that random fields deform, see `test_episode.py`."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from deepreg_meta.dataset.augmentation import random_affine
from deepreg_meta.dataset.gaussian_field import FieldOptions, deformation_energy
from deepreg_meta.dataset.random_field import draw_fields
from deepreg_meta.layer.warp import (
    apply_affine,
    displaced_grid,
    reference_grid,
    sample,
    warp,
)
from deepreg_meta.model.alignment import soft_centroid
from deepreg_meta.model.episode import BatchDrawer
from deepreg_meta.model.registration import RegistrationLoss
from deepreg_meta.model.task import DrawOptions
from tests.helpers import FIXED_SHAPE, MOVING_SHAPE, eager, make_task
from tests.helpers import draw_training as train

FIELD = FieldOptions(sigma=0.8, num_centers=4, width=(4.0, 6.0), reference=None)
DICE = dict(label=dict(name="multi_scale_dice", sigmas_mm=[0]))
SSD = dict(image=dict(name="ssd"))
SIDES = dict(both=(FIELD, FIELD), moving=(FIELD, None), fixed=(None, FIELD))


def make_drawer(images="both", loss=DICE, labeled=True, **options):
    moving, fixed = SIDES[images]
    options = dict(moving_field=moving, fixed_field=fixed, batch_size=3) | options
    loss = RegistrationLoss(loss, labeled)
    return BatchDrawer(DrawOptions(**options), loss, MOVING_SHAPE, FIXED_SHAPE)


def fixed_label(batch):
    return tf.reshape(batch.label_target.overlap, [-1, *FIXED_SHAPE])


def test_images_and_labels_move_together_on_both_sides():
    task = make_task(num_labels=1)
    task = task._replace(
        moving_image=task.moving_labels[0], fixed_image=task.fixed_labels[0]
    )
    batch = train(make_drawer(), task)
    np.testing.assert_allclose(batch.moving_image, batch.moving_label, atol=1e-6)
    np.testing.assert_allclose(batch.fixed_input, fixed_label(batch), atol=1e-6)
    for drawn, whole in (
        (batch.moving_image, task.moving_image),
        (batch.fixed_input, task.fixed_image),
    ):
        assert np.all(np.abs(drawn - whole).max(axis=(1, 2, 3)) > 0.2)
        assert np.abs(drawn[0] - drawn[1]).max() > 0.1  # each sample its own


@pytest.mark.parametrize("images", list(SIDES))
def test_only_the_side_asked_for_is_deformed_and_nothing_else_is_drawn_anew(images):
    task = make_task()
    options = dict(frames=(2, 4), frame_axis=1, affine_scale=0.1)
    plain = train(
        make_drawer("both", moving_field=None, fixed_field=None, **options), task
    )
    batch = train(make_drawer(images, **options), task)
    # the affine maps, the label and the frames are those of a run without fields
    np.testing.assert_array_equal(batch.matrix, plain.matrix)
    np.testing.assert_array_equal(batch.offset, plain.offset)
    shown = [np.any(b.fixed_input != 0.0, axis=(1, 3)) for b in (batch, plain)]
    if images == "moving":
        np.testing.assert_array_equal(*shown)
    for name, side in (("moving_image", "moving"), ("fixed_input", "fixed")):
        change = np.abs(getattr(batch, name) - getattr(plain, name)).max()
        assert (change > 0.1) == (images in ("both", side))
        assert (change == 0.0) == (images not in ("both", side))


def test_no_energy_changes_nothing():
    task, still = make_task(), replace(FIELD, sigma=0.0)
    plain = train(make_drawer(moving_field=None, fixed_field=None), task)
    found = train(make_drawer(moving_field=still, fixed_field=still), task)
    for name in ("moving_image", "moving_label", "moving_input", "fixed_input"):
        a, b = getattr(found, name), getattr(plain, name)
        np.testing.assert_allclose(a, b, atol=1e-6)
    np.testing.assert_allclose(fixed_label(found), fixed_label(plain), atol=1e-6)
    np.testing.assert_array_equal(found.matrix, plain.matrix)


def test_the_fixed_side_is_resampled_once_by_its_map_and_its_field():
    """First the affine map, then the deformation: F(A (x + u(x)) + t)."""
    task = make_task()
    batch = train(make_drawer("fixed", SSD, affine_scale=0.2), task)
    seed = tf.constant([0, 5])
    affine = random_affine(
        tf.random.experimental.stateless_split(seed, 4)[1], 3, FIXED_SHAPE, 0.2
    )
    ddf = draw_fields(
        tf.random.experimental.stateless_fold_in(seed, 1), 3, FIXED_SHAPE, FIELD
    )
    expected = sample(
        tf.repeat(task.fixed_image[None], 3, axis=0),
        apply_affine(displaced_grid(ddf), *affine),
    )
    np.testing.assert_allclose(batch.fixed_input, expected, atol=1e-5)
    for field in ddf:
        assert deformation_energy(field, None) == pytest.approx(0.8, rel=1e-5)


def test_the_moving_side_is_deformed_and_then_aligned():
    task = make_task()
    batch = train(make_drawer("moving", SSD, affine_scale=0.2), task)
    own = tf.random.experimental.stateless_fold_in(tf.constant([0, 5]), 0)
    ddf = draw_fields(own, 3, MOVING_SHAPE, FIELD)
    expected = warp(tf.repeat(task.moving_image[None], 3, axis=0), ddf)
    np.testing.assert_allclose(batch.moving_image, expected, atol=1e-5)
    grid = reference_grid(FIXED_SHAPE)[None]
    seen = sample(expected, apply_affine(grid, batch.matrix, batch.offset))
    np.testing.assert_allclose(batch.moving_input, seen, atol=1e-4)


@pytest.mark.parametrize("images", list(SIDES))
def test_centroids_of_deformed_labels_still_meet(images):
    task = make_task(num_labels=1)
    drawer = make_drawer(images, align="centroid", affine_scale=0.1)
    batch = train(drawer, task)
    point = soft_centroid(fixed_label(batch), tf.zeros([3]))[:, None]
    mapped = apply_affine(point, batch.matrix, batch.offset)[:, 0]
    moving = soft_centroid(batch.moving_label, tf.zeros([3]))
    np.testing.assert_allclose(mapped, moving, atol=1e-3)
    own = soft_centroid(task.moving_labels[:1], tf.zeros([3]))
    moved = np.abs(moving - own).max() > 0.05
    assert moved == (images != "fixed")


def test_sections_are_those_of_the_deformed_label():
    """Of a fixed label that equals the deformed moving one they lie at their place."""
    task = make_task(num_labels=1)
    drawer = make_drawer("moving", align="sections", frame_axis=1, batch_size=1)
    label = train(drawer, task).moving_label[0, :12, :10, :8]
    batch = train(drawer, task._replace(fixed_labels=label[None]))
    place = apply_affine(reference_grid(FIXED_SHAPE)[None], batch.matrix, batch.offset)
    aligned = sample(batch.moving_label, place)
    overlap = np.minimum(aligned[0], label).sum() / label.numpy().sum()
    assert overlap > 0.97


def test_unlabeled_pairs_are_deformed_and_keep_their_placeholders():
    task = make_task(labeled=False)
    batch = train(make_drawer(loss=SSD, labeled=False), task)
    assert batch.moving_label.shape == (3, 1, 1, 1)
    for drawn, whole in (
        (batch.moving_image, task.moving_image),
        (batch.fixed_input, task.fixed_image),
    ):
        assert np.abs(drawn - whole).max() > 0.1


def test_a_compiled_draw_repeats_with_its_seed_and_another_seed_deforms_anew():
    task, drawer = make_task(), make_drawer(affine_scale=0.1)
    first, again, other = (train(drawer, task, s, compiled=True) for s in (1, 1, 2))
    for name in ("moving_image", "fixed_input", "moving_input"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
        assert np.abs(getattr(first, name) - getattr(other, name)).max() > 0.1
    place = apply_affine(reference_grid(FIXED_SHAPE)[None], first.matrix, first.offset)
    expected = sample(first.moving_image, place)
    np.testing.assert_allclose(first.moving_input, expected, atol=1e-4)


def test_adaptation_is_not_deformed():
    task = make_task()
    drawer = make_drawer()
    with eager():
        batch = drawer.adaptation(task, drawer.constants(task), 0, None)
    np.testing.assert_array_equal(batch.moving_image[0], task.moving_image)
    np.testing.assert_array_equal(batch.fixed_input[0], task.fixed_image)
