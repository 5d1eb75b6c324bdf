"""Tests of the way from cases to the tensors of episodes."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from deepreg_meta.dataset.case import Case
from deepreg_meta.dataset.domains import training_pair
from deepreg_meta.dataset.pipeline import (
    EpisodeLayout,
    evaluation_dataset,
    task_arrays,
    training_dataset,
)
from deepreg_meta.model.task import Task

MOVING, FIXED = (3, 4, 5), (4, 3, 2)


def make_case(moving, fixed, num_labels):
    """Return a case whose voxels say which pair and which channel they are of."""

    def labels(shape):
        if num_labels == 0:
            return None
        return np.stack(
            [np.full(shape, i + 1.0, np.float32) for i in range(num_labels)]
        )

    return Case(
        name=f"{moving}_{fixed}",
        indices=(moving, fixed),
        moving_image=np.full(MOVING, moving, np.float32),
        fixed_image=np.full(FIXED, fixed, np.float32),
        moving_labels=labels(MOVING),
        fixed_labels=labels(FIXED),
        label_names=tuple(map(str, range(num_labels))),
        moving_affine=2.0 * np.eye(4),
        fixed_affine=3.0 * np.eye(4),
        moving_spacing_mm=np.array([2.0, 2.0, 2.0]),
        fixed_spacing_mm=np.array([3.0, 3.0, 3.0]),
        spacing_is_nominal=False,
        moving_source=None,  # the pipeline has no use for files
        fixed_source=None,
    )


class Cases:
    """Six cases in memory with what the pipeline asks of a `CaseSet`."""

    num_labels_max, ignores_padding = 3, False

    def __init__(self, is_paired=True, num_labels=(1, 3, 2, 1, 1, 2)):
        self.is_paired, self.num_labels = is_paired, num_labels
        if not any(num_labels):
            self.num_labels_max = 0

    def __len__(self):
        return 6

    def __iter__(self):
        return (self.get_pair(i, i) for i in range(6))

    def pairs(self):
        return [(i, i) for i in range(6)]

    def get_pair(self, moving, fixed):
        return make_case(moving, fixed, self.num_labels[moving])

    def draw_pair(self, rng):
        return tuple(map(int, rng.choice(6, 2, replace=False)))


def take(dataset, number):
    return list(dataset.take(number).as_numpy_iterator())


def test_arrays_are_the_fields_of_a_task_with_labels_padded_by_zeros():
    arrays = task_arrays(make_case(4, 5, 2), 3)
    # fields only of a case that has them
    others = ("moving_mask", "fixed_mask", "fixed_inside")
    assert tuple(arrays) == tuple(name for name in Task._fields if name not in others)
    mask = np.ones(FIXED, np.float32)
    masked = task_arrays(dataclasses.replace(make_case(4, 5, 2), fixed_mask=mask), 3)
    assert masked["fixed_mask"] is mask and "moving_mask" not in masked
    assert arrays["moving_labels"].shape == (3, *MOVING)
    assert arrays["fixed_labels"].shape == (3, *FIXED)
    channels = arrays["fixed_labels"].max(axis=(1, 2, 3))
    np.testing.assert_array_equal(channels, [1.0, 2.0, 0.0])
    assert arrays["num_labels"] == 2
    assert arrays["moving_affine"][0, 0] == 2.0 and arrays["fixed_affine"][0, 0] == 3.0
    np.testing.assert_array_equal(arrays["fixed_spacing"], [3.0] * 3)
    assert {a.dtype for a in arrays.values()} == {np.dtype("f4"), np.dtype("i4")}


def test_unlabeled_cases_have_label_volumes_of_one_voxel():
    arrays = task_arrays(make_case(0, 0, 0), 0)
    assert arrays["num_labels"] == 0
    assert arrays["moving_labels"].shape == arrays["fixed_labels"].shape == (1, 1, 1, 1)


def test_paired_cases_come_once_per_cycle_in_changing_order():
    cases = Cases()
    cycles = [[training_pair(cases, 7, 6 * c + i) for i in range(6)] for c in range(5)]
    for cycle in cycles:
        assert sorted(cycle) == [(i, i) for i in range(6)]
    assert len({tuple(cycle) for cycle in cycles}) > 1
    other = [training_pair(cases, 8, i) for i in range(30)]
    assert other != sum(cycles, [])


def test_any_two_unpaired_images_may_meet_and_one_index_means_one_pair():
    cases = Cases(is_paired=False)
    pairs = [training_pair(cases, 0, i) for i in range(200)]
    assert len(set(pairs)) > 25  # of 30
    assert pairs == [training_pair(cases, 0, i) for i in range(200)]


@pytest.mark.parametrize("is_paired", [True, False])
def test_training_continues_with_the_pairs_it_would_have_met(is_paired):
    cases = Cases(is_paired)
    whole = take(training_dataset(cases, 1, EpisodeLayout(2), range(7)), 99)
    rest = take(training_dataset(cases, 1, EpisodeLayout(2), range(4, 7)), 99)
    assert (len(whole), len(rest)) == (7, 3)
    for a, b in zip(whole[4:], rest, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, a, b)
    assert whole[0]["moving_image"].shape == (2, *MOVING)
    # task i of episode e is number 2 e + i of the run
    seen = [int(x) for e in whole for x in e["moving_image"][:, 0, 0, 0]]
    assert seen == [training_pair(cases, 1, i)[0] for i in range(14)]


def test_evaluation_gives_every_pair_once_in_order():
    elements = take(evaluation_dataset(Cases()), 99)
    assert [int(e["fixed_image"].max()) for e in elements] == list(range(6))
    assert [int(e["num_labels"][0]) for e in elements] == [1, 3, 2, 1, 1, 2]
    assert elements[0]["fixed_labels"].shape == (1, 3, *FIXED)
    # twice the same: predictions of one run are in the order of the other's
    again = take(evaluation_dataset(Cases()), 99)
    tf.nest.map_structure(np.testing.assert_array_equal, elements, again)


def test_unlabeled_datasets_run():
    cases = Cases(num_labels=(0,) * 6)
    assert (
        take(training_dataset(cases, 0, EpisodeLayout(3), range(1)), 1)[0][
            "num_labels"
        ].tolist()
        == [0] * 3
    )
    assert len(take(evaluation_dataset(cases), 99)) == 6


def test_no_pipeline_is_tuned_which_would_hold_up_the_end_of_a_training():
    cases = Cases()
    datasets = (
        training_dataset(cases, 0, EpisodeLayout(1), range(2)),
        evaluation_dataset(cases),
    )
    for dataset in datasets:
        assert dataset.options().autotune.enabled is False


def test_all_pairs_of_a_set_say_what_is_inside_where_one_may_be_padded():
    """As domains need, some of which are not."""
    box = np.array([[1, 3], [0, 3], [0, 2]])
    case = make_case(4, 5, 2)
    padded = dataclasses.replace(case, fixed_inside=box)
    for has_inside in (None, True):
        found = task_arrays(padded, 3, has_inside)["fixed_inside"]
        np.testing.assert_array_equal(found, box)
        assert found.dtype == np.float32
    assert "fixed_inside" not in task_arrays(case, 3, False)
    whole = task_arrays(case, 3, True)["fixed_inside"]
    np.testing.assert_array_equal(whole, [[0, 4], [0, 3], [0, 2]])
    cases = Cases()
    cases.ignores_padding = True
    datasets = (
        training_dataset(cases, 0, EpisodeLayout(2), range(3)),
        evaluation_dataset(cases),
    )
    for dataset, count in zip(datasets, (2, 1), strict=True):
        (first,) = take(dataset, 1)
        np.testing.assert_array_equal(first["fixed_inside"], [whole] * count)


def test_a_domain_is_stacked_mini_batch_by_mini_batch():
    layout = EpisodeLayout(2, (3, 2))
    tasks = [[{"x": np.array([10 * t + p])} for p in range(6)] for t in range(2)]
    found = layout.stack(tasks)["x"]
    assert layout.pairs_per_task == 6 and found.shape == (2, 3, 2, 1)
    np.testing.assert_array_equal(found[1, ..., 0], [[10, 11], [12, 13], [14, 15]])
