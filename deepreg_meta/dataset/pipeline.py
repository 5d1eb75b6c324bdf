"""From the cases of a split to the tensors of episodes and of single pairs."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from deepreg_meta.dataset.case import Case
from deepreg_meta.dataset.domains import Domains, episode_cases
from deepreg_meta.dataset.tasks import CaseSet


def task_arrays(
    case: Case, num_labels_max: int, has_inside: bool | None = None
) -> dict[str, np.ndarray]:
    """
    Return the fields of a `Task`, label channels padded with zeros.

    :param case: the pair.
    :param num_labels_max: channels after padding; 0 for unlabeled data, whose label
        volumes then have a single voxel. Of an unlabeled case among labeled ones, all
        channels are padding.
    :param has_inside: whether to say which voxels losses look at, all of them where
        none were added; None follows the case.
    :return: arrays by field name.
    """
    num_labels = 0 if case.moving_labels is None else len(case.moving_labels)

    def pad(labels: np.ndarray | None, image: np.ndarray) -> np.ndarray:
        if labels is None and num_labels_max == 0:
            return np.zeros((1, 1, 1, 1), np.float32)
        if labels is None:
            return np.zeros((num_labels_max, *image.shape), np.float32)
        missing = num_labels_max - num_labels
        return np.pad(labels, [(0, missing), (0, 0), (0, 0), (0, 0)])

    inside = case.fixed_inside
    if inside is None and has_inside:
        inside = np.array([[0, side] for side in case.fixed_image.shape])
    given = dict(
        moving_mask=case.moving_mask,
        fixed_mask=case.fixed_mask,
        fixed_inside=None if inside is None else inside.astype(np.float32),
    )
    return dict(
        moving_image=case.moving_image,
        fixed_image=case.fixed_image,
        moving_labels=pad(case.moving_labels, case.moving_image),
        fixed_labels=pad(case.fixed_labels, case.fixed_image),
        num_labels=np.array(num_labels, np.int32),
        moving_affine=case.moving_affine.astype(np.float32),
        fixed_affine=case.fixed_affine.astype(np.float32),
        moving_spacing=case.moving_spacing_mm.astype(np.float32),
        fixed_spacing=case.fixed_spacing_mm.astype(np.float32),
        **{name: value for name, value in given.items() if value is not None},
    )


def _spec(arrays: dict[str, np.ndarray]) -> dict[str, tf.TensorSpec]:
    return {k: tf.TensorSpec(v.shape, v.dtype) for k, v in arrays.items()}


class EpisodeLayout(NamedTuple):
    """What the elements of the training data hold."""

    num_tasks: int = 1  # m
    # mini-batches of a domain, and pairs of each; None: a task is one pair
    batches: tuple[int, int] | None = None

    @property
    def pairs_per_task(self) -> int:
        """The number of pairs of every task."""
        return 1 if self.batches is None else self.batches[0] * self.batches[1]

    def stack(self, tasks: Sequence[Sequence[dict]]) -> dict[str, np.ndarray]:
        """
        Put the pairs of all tasks into one element.

        :param tasks: for every task the arrays of its pairs.
        :return: by field, with the leading axes (tasks,) or (tasks, mini-batches,
            pairs).
        """
        axes = (self.num_tasks, *(self.batches or ()))
        names = tasks[0][0]
        return {
            name: np.stack([pair[name] for task in tasks for pair in task]).reshape(
                *axes, *np.shape(tasks[0][0][name])
            )
            for name in names
        }


def training_dataset(
    cases: CaseSet | Domains, seed: int, layout: EpisodeLayout, episodes: range
) -> tf.data.Dataset:
    """
    Return a dataset of episodes.

    :param cases: the training split.
    :param seed: of the run.
    :param layout: of the elements.
    :param episodes: numbers of the episodes; at least one.
    """
    common = cases.num_labels_max, cases.ignores_padding  # of all tasks

    def episode(number: int) -> dict[str, np.ndarray]:
        num_batches, num_pairs = layout.batches or (1, 1)
        tasks = episode_cases(
            cases, seed, number, layout.num_tasks, num_pairs, num_batches
        )
        return layout.stack(
            [[task_arrays(case, *common) for case in task] for task in tasks]
        )

    signature = _spec(episode(episodes[0]))
    dataset = tf.data.Dataset.from_generator(
        lambda: map(episode, episodes), output_signature=signature
    )
    return _without_tuning(dataset.prefetch(2))


def single_dataset(inputs: dict[str, np.ndarray]) -> tf.data.Dataset:
    """
    Return one element, which Keras takes at once; of arrays it would trace a pipeline.

    :param inputs: by field, with a leading axis of one.
    """
    return _without_tuning(tf.data.Dataset.from_tensors(inputs))


def _without_tuning(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """
    Leave the tuning of a pipeline out, of which nothing is open here.

    Its thread sleeps for up to a minute at a time, and whoever lets go of an iterator
    waits for its end: at the end of each training, and of each validation.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def evaluation_dataset(cases: CaseSet | Domains) -> tf.data.Dataset:
    """
    Return every pair of a split once, each with a leading axis of one.

    :param cases: of the split.
    """
    common = cases.num_labels_max, cases.ignores_padding

    def pairs() -> Iterator[dict[str, np.ndarray]]:
        for case in cases:
            arrays = task_arrays(case, *common)
            yield {name: value[None] for name, value in arrays.items()}

    dataset = tf.data.Dataset.from_generator(
        pairs, output_signature=_spec(next(pairs()))
    )
    return _without_tuning(dataset.prefetch(1))
