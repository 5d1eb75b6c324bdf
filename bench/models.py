"""The models and the random pairs that are measured, ours and DeepReg's."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from deepreg_meta.command_line import prepare_tensorflow

prepare_tensorflow(None, True)
# ruff: noqa: E402

import tensorflow as tf
from deepreg.model.backbone.interface import Backbone
from deepreg.registry import REGISTRY

from deepreg_meta import compat
from deepreg_meta.model.adaptation import first_task
from deepreg_meta.model.build import build_optimizer
from deepreg_meta.model.inner_loop import InnerLoop
from deepreg_meta.model.reptile import ReptileModel

LOCAL, UNET = "local", "unet"
NAMES = {LOCAL: "LocalNet", UNET: "U-Net"}
OPTIMIZER = dict(name="Adam", learning_rate=1e-3)
Network = Callable[..., tf.Tensor]  # (moving, fixed, training) to a field


class Setting(NamedTuple):
    """Sizes, network and scales of the Dice of one comparison; JSON can hold it."""

    fixed: tuple[int, int, int] = (44, 59, 41)
    moving: tuple[int, int, int] = (64, 64, 60)
    scales: tuple[float, ...] = (0, 1, 2, 4, 8, 16, 32)  # voxels
    channels: int = 8  # of the first layer
    backbone: str = LOCAL
    depth: int = 3  # halvings of the grid
    precision: str = "float32"  # of our network; DeepReg's has no choice
    recompute: bool = False

    @property
    def grid(self) -> str:
        """Fixed grid, as tables show it."""
        return " x ".join(map(str, self.fixed))

    @property
    def network(self) -> str:
        """Backbone and width, as tables show them."""
        words = [NAMES[self.backbone], f"{self.channels} channels"]
        if self.precision != "float32":
            words.append(self.precision)
        if self.recompute:
            words.append("recompute")
        return ", ".join(words)


SMALL = Setting()
MIDDLE = Setting((80, 80, 80), (80, 80, 80), (0, 1, 2, 4, 8, 16, 40))
LARGE = Setting((128, 128, 128), (128, 128, 128), channels=16)
TINY = Setting((12, 10, 8), (13, 11, 9), (0, 1, 2), channels=1, depth=1)


def read_setting(values: list) -> Setting:
    """Return a setting that went through JSON."""
    fixed, moving, scales, *others = values
    return Setting(tuple(fixed), tuple(moving), tuple(scales), *others)


def backbone_config(setting: Setting) -> dict[str, Any]:
    """Return DeepReg's `train.backbone`."""
    config = dict(name=setting.backbone, num_channel_initial=setting.channels)
    if setting.backbone == UNET:
        return dict(config, depth=setting.depth)
    return dict(config, extract_levels=list(range(setting.depth + 1)))


def loss_config(setting: Setting) -> dict[str, Any]:
    """Return DeepReg's `train.loss`: Dice at all scales, and bending energy."""
    return dict(
        label=dict(name="dice", weight=1.0, scales=list(setting.scales)),
        regularization=dict(name="bending", weight=0.5),
    )


def frames(setting: Setting) -> tuple[int, int]:
    """Return how few and how many frames a sweep shows."""
    return 2, min(10, setting.fixed[1] // 2)


def build_model(
    setting: Setting,
    augmented: bool = False,
    inner_steps: int = 1,
    num_tasks: int = 1,
    adapt_steps: int = 0,
) -> ReptileModel:
    """
    Build and compile our model.

    :param setting: sizes and network.
    :param augmented: draw affine maps and frames; adaptation then sees a sweep.
    :param inner_steps: k.
    :param num_tasks: m, tasks of an episode.
    :param adapt_steps: updates N of adaptation.
    :return: the model; its weights are the same each time.
    """
    tf.keras.utils.set_random_seed(0)
    augmentation = [
        dict(name="affine", scale=0.1),
        dict(name="sparse_frames", frames=list(frames(setting)), axis=1),
    ]
    config = dict(
        method="reptile",
        backbone=backbone_config(setting),
        loss=loss_config(setting),
        optimizer=OPTIMIZER,
        seed=0,
        precision=setting.precision,
        recompute=setting.recompute,
        meta=dict(
            base="ddf",
            inner_steps=inner_steps,
            tasks_per_step=num_tasks,
            num_episodes=10**6,
        ),
        align=dict(mode="center"),
        adapt=dict(steps=adapt_steps),
        preprocess=dict(data_augmentation=augmentation if augmented else []),
    )
    model = _build("reptile", setting, config)
    model.compile(optimizer=build_optimizer(OPTIMIZER))
    return model


def build_deepreg(setting: Setting) -> tf.keras.Model:
    """Build and compile DeepReg's own `ddf` model, with the same network and losses."""
    tf.keras.utils.set_random_seed(0)
    config = dict(
        method="ddf", backbone=backbone_config(setting), loss=loss_config(setting)
    )
    with compat.quiet_losses():
        model = _build("ddf", setting, config)
    model.compile(optimizer=tf.keras.optimizers.Adam(OPTIMIZER["learning_rate"]))
    return model


def graph(function: Callable, **options: Any) -> Callable:
    """Return a graph as Keras makes those of its steps, without AutoGraph."""
    return tf.function(function, autograph=False, **options)


@contextlib.contextmanager
def plain_graphs() -> Iterator[None]:
    """Leave XLA out of the graphs made inside: for smoke tests, which never wait."""
    original = tf.function

    def function(*args: Any, **kwargs: Any) -> Any:
        kwargs.pop("jit_compile", None)
        return original(*args, **kwargs)

    tf.function = function
    try:
        yield
    finally:
        tf.function = original


def _build(name: str, setting: Setting, config: dict) -> Any:
    """Build a registered model for labelled pairs, one at a time."""
    return REGISTRY.build_model(
        dict(
            name=name,
            moving_image_size=setting.moving,
            fixed_image_size=setting.fixed,
            index_size=2,
            labeled=True,
            batch_size=1,
            config=config,
        )
    )


def deepreg_network(model: tf.keras.Model) -> Network:
    """Return the network alone of DeepReg's model, with its own layers."""
    (backbone,) = (x for x in model._model.layers if isinstance(x, Backbone))
    return lambda moving, fixed, training: backbone(
        tf.stack([moving, fixed], axis=-1), training=training
    )


def random_tasks(
    setting: Setting, num_labels: int = 1, num_tasks: int = 1
) -> dict[str, tf.Tensor]:
    """
    Make pairs of noise with ellipsoids as labels.

    :param setting: sizes.
    :param num_labels: channels, ellipsoids of falling size.
    :param num_tasks: equal ones, m.
    :return: the fields of `Task`, each with a leading axis of m.
    """
    rng = np.random.default_rng(0)
    sizes = [0.35 * 0.9**index for index in range(num_labels)]
    task = dict(
        moving_image=rng.random(setting.moving, np.float32),
        fixed_image=rng.random(setting.fixed, np.float32),
        moving_labels=np.stack([_ellipsoid(setting.moving, size) for size in sizes]),
        fixed_labels=np.stack([_ellipsoid(setting.fixed, size) for size in sizes]),
        num_labels=np.int32(num_labels),
        moving_affine=np.eye(4, dtype=np.float32),
        fixed_affine=np.eye(4, dtype=np.float32),
        moving_spacing=np.ones(3, np.float32),
        fixed_spacing=np.ones(3, np.float32),
    )
    return {
        name: tf.constant(np.stack([value] * num_tasks)) for name, value in task.items()
    }


def _ellipsoid(shape: tuple[int, int, int], radius: float) -> np.ndarray:
    """Return 1 inside and 0 outside; the radius is a share of each side."""
    axes = np.ogrid[tuple(slice(0, side) for side in shape)]
    distance = np.zeros(shape, np.float32)
    for axis, side in zip(axes, shape, strict=True):
        distance += ((axis - (side - 1) / 2) / (radius * side)) ** 2
    return (distance < 1).astype(np.float32)


def forward(
    network: Network, setting: Setting, training: bool = True
) -> Callable[[], tf.Tensor]:
    """Return a graph that runs the network; its result is small on purpose."""
    moving, fixed = _images(setting)
    return graph(lambda: tf.reduce_sum(network(moving, fixed, training=training)))


def forward_and_backward(
    network: Network, variables: list[tf.Variable], setting: Setting
) -> Callable[[], list[tf.Tensor]]:
    """
    Return a graph that runs a network and its gradient, the floor of every step.

    :param network: to run.
    :param variables: its trainable weights.
    :param setting: sizes.
    """
    moving, fixed = _images(setting)

    @graph
    def floor() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(network(moving, fixed, training=True))
        return tape.gradient(value, variables)

    return floor


def _images(setting: Setting) -> tuple[tf.Tensor, tf.Tensor]:
    """Return a moving and a fixed input, both on the fixed grid."""
    rng = np.random.default_rng(1)
    shape = (1, *setting.fixed)
    moving, fixed = (tf.constant(rng.random(shape, np.float32)) for _ in range(2))
    return moving, fixed


def episode(model: ReptileModel, setting: Setting, num_labels: int = 1) -> Callable:
    """Return a graph that runs one episode of our model; it gives the loss."""
    tasks = random_tasks(setting, num_labels, model.options.tasks_per_step)
    return graph(lambda: model.train_step(tasks)["loss"])


def draw(model: ReptileModel, setting: Setting) -> Callable[[tf.Tensor], Any]:
    """Return what draws a mini-batch of one pair from a seed, shape = (2,)."""
    task = first_task(random_tasks(setting))
    constants = graph(model.drawer.constants)(task)
    return lambda seed: model.drawer.training(task, constants, seed)


def inner_step(model: ReptileModel, setting: Setting) -> Callable[[], tf.Tensor]:
    """Return a call of one inner step, another mini-batch each time."""
    loop = InnerLoop(model.network, model.loss_fn, build_optimizer(OPTIMIZER))
    batch_of = draw(model, setting)
    step = graph(lambda seed: loop.step(batch_of(seed))[0]["total"])
    return seeded(step)


def seeded(call: Callable[[tf.Tensor], Any]) -> Callable[[], Any]:
    """Return a call that is given the next seed each time."""
    numbers = itertools.count()
    return lambda: call(tf.constant([0, next(numbers)]))


def touch(results: Any) -> list[tf.Tensor]:
    """Return the first element of each tensor: computed in full, but not copied."""
    tensors = [tensor for tensor in tf.nest.flatten(results) if tensor is not None]
    return [tf.reshape(tensor, [-1])[:1] for tensor in tensors]


def adaptation(model: ReptileModel, setting: Setting) -> Callable:
    """Return a graph that adapts to one pair and predicts."""
    task = random_tasks(setting)
    return graph(lambda: touch(model.predict_step(task)["ddf"]))


def deepreg_step(model: tf.keras.Model, setting: Setting) -> Callable:
    """Return a graph of the step that DeepReg's `fit` runs; it gives the loss."""
    task = random_tasks(setting)
    data = dict(
        moving_image=task["moving_image"],
        fixed_image=task["fixed_image"],
        moving_label=task["moving_labels"][:, 0],
        fixed_label=task["fixed_labels"][:, 0],
        indices=tf.zeros((1, 2)),
    )
    return graph(lambda: model.train_step(data)["loss"])
