"""From the cases of a split to the tensors of episodes and of single pairs."""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from deepreg_meta.dataset.case import Case
from deepreg_meta.dataset.tasks import CaseSet


def task_arrays(case: Case, num_labels_max: int) -> dict[str, np.ndarray]:
    """
    Return the fields of a `Task`, label channels padded with zeros.

    :param case: the pair.
    :param num_labels_max: channels after padding; 0 for unlabeled data, whose label
        volumes then have a single voxel.
    :return: arrays by field name.
    """
    num_labels = 0 if case.moving_labels is None else len(case.moving_labels)

    def pad(labels: np.ndarray | None) -> np.ndarray:
        if labels is None:
            return np.zeros((1, 1, 1, 1), np.float32)
        missing = num_labels_max - num_labels
        return np.pad(labels, [(0, missing), (0, 0), (0, 0), (0, 0)])

    masks = dict(moving_mask=case.moving_mask, fixed_mask=case.fixed_mask)
    return dict(
        moving_image=case.moving_image,
        fixed_image=case.fixed_image,
        moving_labels=pad(case.moving_labels),
        fixed_labels=pad(case.fixed_labels),
        num_labels=np.array(num_labels, np.int32),
        moving_affine=case.moving_affine.astype(np.float32),
        fixed_affine=case.fixed_affine.astype(np.float32),
        moving_spacing=case.moving_spacing_mm.astype(np.float32),
        fixed_spacing=case.fixed_spacing_mm.astype(np.float32),
        **{name: mask for name, mask in masks.items() if mask is not None},
    )


def training_pair(cases: CaseSet, seed: int, index: int) -> tuple[int, int]:
    """
    Say which pair the task number `index` of a run is.

    Paired data is gone through in a new order each time; of unpaired images any two may
    meet. Either way the answer depends on the arguments alone, so a run that continues
    from a checkpoint meets the pairs that it would have met.

    :param cases: the training split.
    :param seed: of the run.
    :param index: counts tasks from 0.
    :return: (moving, fixed) indices.
    """
    if not cases.is_paired:
        return cases.draw_pair(np.random.default_rng([seed, index]))
    cycle, position = divmod(index, len(cases))
    order = np.random.default_rng([seed, cycle]).permutation(len(cases))
    return cases.pairs()[order[position]]


def _spec(arrays: dict[str, np.ndarray]) -> dict[str, tf.TensorSpec]:
    return {k: tf.TensorSpec(v.shape, v.dtype) for k, v in arrays.items()}


def training_dataset(
    cases: CaseSet, seed: int, tasks_per_step: int, first_episode: int
) -> tf.data.Dataset:
    """
    Return an endless dataset of episodes.

    :param cases: the training split.
    :param seed: of the run.
    :param tasks_per_step: m, the leading axis of every element.
    :param first_episode: number of the episode to start with.
    """
    num_labels = cases.num_labels_max

    def episode(number: int) -> dict[str, np.ndarray]:
        tasks = [
            task_arrays(
                cases.get_pair(
                    *training_pair(cases, seed, number * tasks_per_step + i)
                ),
                num_labels,
            )
            for i in range(tasks_per_step)
        ]
        return {name: np.stack([task[name] for task in tasks]) for name in tasks[0]}

    def episodes() -> Iterator[dict[str, np.ndarray]]:
        number = first_episode
        while True:
            yield episode(number)
            number += 1

    signature = _spec(episode(first_episode))
    dataset = tf.data.Dataset.from_generator(episodes, output_signature=signature)
    return dataset.prefetch(2)


def evaluation_dataset(cases: CaseSet) -> tf.data.Dataset:
    """
    Return every pair of a split once, each with a leading axis of one.

    :param cases: of the split.
    """
    num_labels = cases.num_labels_max

    def pairs() -> Iterator[dict[str, np.ndarray]]:
        for case in cases:
            arrays = task_arrays(case, num_labels)
            yield {name: value[None] for name, value in arrays.items()}

    return tf.data.Dataset.from_generator(
        pairs, output_signature=_spec(next(pairs()))
    ).prefetch(1)
