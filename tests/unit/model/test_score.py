"""Tests of deepreg_meta/model/score.py."""

import numpy as np
import pytest
import tensorflow as tf

from deepreg_meta.model.registration import Batch
from deepreg_meta.model.score import landmark_points, score_field
from deepreg_meta.model.task import Task

FIXED, MOVING = (6, 7, 8), (9, 8, 10)


def box(shape, start, stop):
    """:return: ones from voxel `start` up to, but not with, voxel `stop`."""
    volume = np.zeros(shape, np.float32)
    volume[tuple(slice(*ends) for ends in zip(start, stop, strict=True))] = 1
    return volume


def a_task(moving_labels, fixed_labels, spacing=(1.0, 1.0, 1.0)) -> Task:
    """:return: a pair with these labels and this spacing of the moving grid."""
    return Task(
        moving_image=tf.zeros(MOVING),
        fixed_image=tf.zeros(FIXED),
        moving_labels=tf.constant(np.stack(moving_labels), tf.float32),
        fixed_labels=tf.constant(np.stack(fixed_labels), tf.float32),
        num_labels=tf.constant(len(fixed_labels)),
        moving_affine=tf.eye(4),
        fixed_affine=tf.eye(4),
        moving_spacing=tf.constant(spacing),
        fixed_spacing=tf.constant([9.0, 9.0, 9.0]),  # of no account
    )


def score_tensor(task: Task, ddf, matrix=None, offset=(0.0, 0.0, 0.0)) -> tf.Tensor:
    """:return: Dice and landmark error of a field, or of one vector everywhere."""
    matrix = tf.eye(3) if matrix is None else tf.constant(matrix, tf.float32)
    names = dict.fromkeys(Batch._fields[:8])  # only the alignment matters
    names |= dict(matrix=matrix[None], offset=tf.constant([offset], tf.float32))
    field = tf.ones([1, *FIXED, 3]) * tf.constant(ddf, tf.float32)
    return score_field(task, landmark_points(task), Batch(**names), field)


def score(*args, **kwargs) -> np.ndarray:
    """:return: the same as an array."""
    return score_tensor(*args, **kwargs).numpy()


GLAND = box(FIXED, (1, 2, 2), (4, 5, 6))  # 3 x 3 x 4
MOVING_GLAND = box(MOVING, (1, 2, 2), (4, 5, 6))


def test_landmarks_are_the_centroids_of_all_labels_but_the_first():
    """Thresholded at 0.5, in voxels; a channel without voxels is no landmark."""
    soft = 0.5 * box(FIXED, (2, 1, 4), (4, 2, 7))
    soft += 0.4 * box(FIXED, (4, 0, 0), (6, 7, 8))
    task = a_task(
        [MOVING_GLAND, box(MOVING, (0, 3, 5), (1, 5, 6)), np.zeros(MOVING)],
        [GLAND, soft, GLAND],
    )
    fixed, moving, present = landmark_points(task)
    np.testing.assert_allclose(fixed[0], [2.5, 1.0, 5.0], atol=1e-5)
    np.testing.assert_allclose(moving[0], [0.0, 3.5, 5.0], atol=1e-5)
    np.testing.assert_array_equal(present, [1.0, 0.0])


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.5, 2.0, 0.25)])
def test_a_displacement_of_1_2_2_mm_is_an_error_of_3_mm(mode, spacing):
    """Equal landmarks, moved by as many voxels as the spacing asks for."""
    points = [((1, 3, 1), (3, 5, 2)), ((3, 1, 5), (4, 3, 7))]
    labels = [
        [gland, *(box(shape, *ends) for ends in points)]
        for gland, shape in ((MOVING_GLAND, MOVING), (GLAND, FIXED))
    ]
    task = a_task(*labels, spacing=spacing)
    ddf = np.array([1.0, 2.0, 2.0]) / spacing
    _, error = mode(lambda: score_tensor(task, ddf))()
    np.testing.assert_allclose(error, 3.0, rtol=1e-5)


def test_the_error_is_the_root_mean_square_over_the_landmarks():
    """1 mm and 7 mm: the root of 25; one that lacks its partner does not count."""
    fixed = [box(FIXED, (i, 1, 1), (i + 1, 2, 2)) for i in (1, 2, 3)]
    moving = [
        box(MOVING, (2, 1, 1), (3, 2, 2)),
        box(MOVING, (2, 1, 8), (3, 2, 9)),
        np.zeros(MOVING),
    ]
    task = a_task([MOVING_GLAND, *moving], [GLAND, *fixed])
    assert score(task, [0, 0, 0])[1] == pytest.approx(5.0)


def test_points_are_displaced_first_and_aligned_then():
    """A (x + u) + t of (2, 1, 3) by (1, 0, -1): (3, 1, 2) becomes (2, 6, 5)."""
    matrix, offset = [[0, 2, 0], [1, 0, 0], [0, 0, 3]], (0.0, 3.0, -1.0)
    task = a_task(
        [MOVING_GLAND, box(MOVING, (2, 6, 5), (3, 7, 6))],
        [GLAND, box(FIXED, (2, 1, 3), (3, 2, 4))],
    )
    assert score(task, [1, 0, -1], matrix, offset)[1] == pytest.approx(0, abs=1e-5)
    assert score(task, [0, 0, 0], matrix, offset)[1] == pytest.approx(np.sqrt(10), 1e-5)


def test_between_voxels_the_field_is_interpolated():
    """A landmark of two voxels at (1.5, 1, 1) in a field that is 2 i along axis 2."""
    task = a_task(
        [MOVING_GLAND, box(MOVING, (1, 1, 4), (3, 2, 5))],
        [GLAND, box(FIXED, (1, 1, 1), (3, 2, 2))],
    )
    ramp = np.zeros((1, *FIXED, 3), np.float32)
    ramp[..., 2] = 2 * np.arange(6)[:, None, None]
    found = score(task, ramp)
    assert found[1] == pytest.approx(0, abs=1e-5)  # 1 + 2 * 1.5 = 4


def test_dice_is_that_of_the_whole_first_label_under_the_field():
    """3 x 3 x 4 voxels moved by one along axis 2 keep 3 of 4 planes in common."""
    other = np.ones(FIXED), np.ones(MOVING)  # other labels do not matter
    task = a_task([MOVING_GLAND, other[1]], [GLAND, other[0]])
    assert score(task, [0, 0, 0])[0] == 1.0
    assert score(task, [0, 0, 1])[0] == pytest.approx(2 * 27 / (36 + 36))
    # so does the alignment, and both together cancel out
    assert score(task, [0, 0, 0], offset=(0, 0, 1))[0] == pytest.approx(0.75)
    assert score(task, [0, 0, -1], offset=(0, 0, 1))[0] == 1.0


def test_dice_is_hard():
    """Half a voxel along one axis: 0.5 counts as label, a little more does not."""
    task = a_task([MOVING_GLAND], [GLAND])
    # the planes 2 to 5 become 1 to 5, the outer two by halves
    assert score(task, [0, 0, 0.5])[0] == pytest.approx(2 * 36 / (36 + 45))
    assert score(task, [0, 0, 0.6])[0] == pytest.approx(2 * 27 / (36 + 36))
    soft = a_task([MOVING_GLAND], [0.5 * GLAND])
    assert score(soft, [0, 0, 0])[0] == 1.0


def test_what_cannot_be_scored_is_not_a_number():
    """No landmarks, an empty gland, or no labels at all."""
    dsc, error = score(a_task([MOVING_GLAND], [GLAND]), [0, 0, 0])
    assert dsc == 1.0 and np.isnan(error)
    empty = a_task([np.zeros(MOVING)], [np.zeros(FIXED)])
    assert np.isnan(score(empty, [0, 0, 0])).all()
    placeholder = np.zeros((1, 1, 1), np.float32)
    assert np.isnan(score(a_task([placeholder], [placeholder]), [0, 0, 0])).all()
