"""Small pairs, models and files that several test modules share."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import yaml

from deepreg_meta.stack import require_stack

require_stack()

import tensorflow as tf  # noqa: E402

import deepreg_meta  # noqa: E402

deepreg_meta.register()

from deepreg_meta.model.build import build_optimizer, build_reptile  # noqa: E402
from deepreg_meta.model.episode import Task  # noqa: E402
from deepreg_meta.model.reptile import ReptileModel  # noqa: E402

MOVING_SHAPE = (13, 11, 9)
FIXED_SHAPE = (12, 10, 8)
PHANTOM_MOVING_SHAPE = (16, 18, 14)
PHANTOM_FIXED_SHAPE = (14, 16, 12)


def ball(shape: tuple, centre: Sequence[float], radius: float) -> np.ndarray:
    """:return: a soft ball, half a voxel wide at its border, in [0, 1]."""
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    distance = np.linalg.norm(grid - np.asarray(centre), axis=-1)
    return np.clip(radius + 0.5 - distance, 0, 1).astype(np.float32)


def make_task(seed: int = 0, num_labels: int = 3, labeled: bool = True) -> Task:
    """
    Make a pair whose glands differ in place and size; the others are landmarks.

    :param seed: of the noise in the images and of the glands' centres.
    :param num_labels: channels, the first of them the gland.
    :param labeled: False gives the placeholders of unlabeled data.
    :return: a pair of arrays, (13, 11, 9) and (12, 10, 8) voxels.
    """
    rng = np.random.default_rng(seed)
    sides = {}
    for kind, shape, radius in (
        ("moving", MOVING_SHAPE, 2.6),
        ("fixed", FIXED_SHAPE, 3.1),
    ):
        centre = (np.array(shape) - 1) / 2 + rng.uniform(-0.7, 0.7, 3)
        labels = [ball(shape, centre, radius)]
        labels += [
            ball(shape, centre + offset, 0.9)
            for offset in ((1.2, 0, 0), (0, -1.2, 0.6))[: num_labels - 1]
        ]
        image = 0.3 * rng.random(shape) + 0.5 * labels[0]
        sides[kind] = image.astype(np.float32), np.stack(labels)
    none = np.zeros((1, 1, 1, 1), np.float32)
    return Task(
        moving_image=tf.constant(sides["moving"][0]),
        fixed_image=tf.constant(sides["fixed"][0]),
        moving_labels=tf.constant(sides["moving"][1] if labeled else none),
        fixed_labels=tf.constant(sides["fixed"][1] if labeled else none),
        num_labels=tf.constant(num_labels if labeled else 0),
        moving_affine=tf.eye(4),
        fixed_affine=tf.eye(4),
        moving_spacing=tf.ones(3),
        fixed_spacing=tf.ones(3),
    )


def stack_tasks(*tasks: Task) -> dict[str, tf.Tensor]:
    """:return: one element of a dataset: the fields with a leading axis of tasks."""
    given = [name for name in Task._fields if getattr(tasks[0], name) is not None]
    return {name: tf.stack([getattr(t, name) for t in tasks]) for name in given}


def model_config(
    normalization: str = "batch",
    optimizer: dict | None = None,
    channels: int = 1,
    levels: Sequence[int] = (0,),
    label: dict | None = None,
    image: dict | None = None,
    augmentation: list | None = None,
    align: str = "centroid",
    adapt: dict | None = None,
    seed: int = 3,
    scales: list | None = None,
    backbone: dict | None = None,
    **meta: object,
) -> dict:
    """
    Write what a user would write of a model in YAML.

    :param levels: of LocalNet. One alone has no decoder: a convolution, its
        normalisation and a head, with which nearly all laws can be seen, in less than
        half of the time that two levels take.
    :return: `train` with `align` and `adapt` beside it, for `build_reptile`.
    """
    label = (
        {"name": "multi_scale_dice", "sigmas_mm": [0, 2]} if label is None else label
    )
    return dict(
        method="reptile",
        seed=seed,
        meta=dict(inner_steps=2, num_episodes=4, **meta),
        scales=scales,
        backbone=backbone
        or dict(
            name="local_norm",
            num_channel_initial=channels,
            extract_levels=list(levels),
            initial_kernel_size=3,
            normalization=normalization,
        ),
        loss=dict(
            image=image,
            label=label,
            regularization=dict(name="bending_energy", weight=0.1),
        ),
        optimizer=optimizer or dict(name="Adam", learning_rate=0.01),
        preprocess=dict(data_augmentation=augmentation or []),
        align=dict(mode=align, label=0),
        adapt={"steps": 0, "labels": [0], **(adapt or {})},
    )


def make_model(
    labeled: bool = True,
    batch_size: int = 1,
    with_xla: bool = False,
    **config: object,
) -> ReptileModel:
    """
    Build a compiled model of one or two channels; see `model_config`.

    Nothing in it is compiled by XLA unless asked for: that takes seconds for each model
    and changes no law; `test_registration.py` compares both.
    """
    full = model_config(**config)
    tf.keras.utils.set_random_seed(full["seed"])
    with contextlib.nullcontext() if with_xla else without_xla():
        model = build_reptile(
            moving_image_size=MOVING_SHAPE,
            fixed_image_size=FIXED_SHAPE,
            index_size=2,
            labeled=labeled,
            batch_size=batch_size,
            config=full,
        )
    model.compile(optimizer=build_optimizer(full["optimizer"]))
    randomize(model.network)
    return model


def run_config() -> dict:
    """:return: a run of two epochs on a phantom, as a user would write it in YAML."""
    return dict(
        dataset=dict(
            type="paired",
            format="nifti",
            dir=dict(train=None, valid=None, test=None),
            phantom=dict(seed=1, num_train=3, num_valid=1, num_test=2),
            labeled=True,
            moving_image_shape=list(PHANTOM_MOVING_SHAPE),
            fixed_image_shape=list(PHANTOM_FIXED_SHAPE),
        ),
        align="centroid",
        train=dict(
            method="reptile",
            meta=dict(inner_steps=2, episodes_per_epoch=2),
            backbone=dict(
                name="local_norm",
                num_channel_initial=1,
                extract_levels=[0],
                initial_kernel_size=3,
            ),
            loss=dict(
                label=dict(name="multi_scale_dice", sigmas_mm=[0, 4]),
                regularization=dict(name="bending_energy", weight=0.1),
            ),
            optimizer=dict(name="Adam", learning_rate=0.01),
            preprocess=dict(
                data_augmentation=[
                    dict(name="affine", scale=0.1),
                    dict(name="sparse_frames", frames=[2, 5], axis=1),
                ],
            ),
            epochs=2,
            save_period=1,
        ),
    )


def write_yaml(path: Path, config: dict) -> str:
    """:return: the path of the file written."""
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return str(path)


@contextlib.contextmanager
def without_xla() -> Iterator[None]:
    """Leave `jit_compile` out of every `tf.function` that is made inside."""
    original = tf.function

    def function(*args: object, **kwargs: object) -> object:
        kwargs.pop("jit_compile", None)
        return original(*args, **kwargs)

    tf.function = function
    try:
        yield
    finally:
        tf.function = original


def randomize(network: tf.keras.layers.Layer, seed: int = 7) -> None:
    """Give a network weights that are none of its initial zeros and ones."""
    rng = np.random.default_rng(seed)
    for variable in network.weights:
        noise = rng.normal(0, 0.1, variable.shape).astype(np.float32)
        if "variance" in variable.name:
            variable.assign(1.0 + np.abs(noise))
        else:
            variable.assign_add(noise)


def values(variables: Sequence[tf.Variable]) -> list[np.ndarray]:
    """:return: copies of the values of variables."""
    return [np.asarray(variable).copy() for variable in variables]


def assert_same_bits(a: Sequence, b: Sequence) -> None:
    """Fail unless two lists of variables or arrays agree bit for bit."""
    assert len(a) == len(b)
    for x, y in zip(values(a), values(b), strict=True):
        assert x.tobytes() == y.tobytes()


def assert_close(a: Sequence, b: Sequence, atol: float = 1e-6) -> None:
    """Fail unless two lists of variables or arrays agree to rounding."""
    assert len(a) == len(b)
    for x, y in zip(values(a), values(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=atol)


def differ(a: Sequence, b: Sequence, atol: float = 1e-4) -> bool:
    """:return: whether some element of two lists differs by more than `atol`."""
    pairs = zip(values(a), values(b), strict=True)
    return any(np.abs(x - y).max() > atol for x, y in pairs if x.size)


@contextlib.contextmanager
def eager(wanted: bool = True) -> Iterator[None]:
    """Run functions as they stand: compiling them takes seconds and changes no law."""
    tf.config.run_functions_eagerly(wanted)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


def draw_training(drawer, task: Task, seed: int = 0, compiled: bool = False):
    """Draw a training mini-batch."""
    with eager(not compiled):
        return drawer.training(task, drawer.constants(task), tf.constant([seed, 5]))
