"""What the time of an inner step is spent on."""

from collections.abc import Callable
from typing import Any

import models
import numpy as np
import tensorflow as tf
from child import measured
from models import LOCAL, MIDDLE, SMALL, TINY, UNET, Setting
from steps import DRAWS
from timing import Table, interleave, spread, track

from deepreg_meta.layer.warp import sample
from deepreg_meta.model.build import build_optimizer
from deepreg_meta.model.registration import Batch, RegistrationLoss, locations

COLUMNS = {
    "backbone": "",
    "fixed grid": "",
    "draws": "",
    "part": "",
    "time": "ms",
    "share of the step": "%",
}
NOTE = (
    "Every part is a graph of its own, run in turn with the whole step; warping and "
    "losses with their gradient to the field. The step runs warping and all losses as "
    "one compiled function, so that their rows below it, each compiled alone, need not "
    "add up to it. The label loss is the difference of warping with and without it. "
    "Everything else is the step without forward and backward pass, draw, warping and "
    "losses, and optimiser. Median (10th to 90th percentile)."
)
FORWARD, BACKWARD = "network, forward", "network, backward"
DRAW, OPTIMISER = "draw: maps, labels, frames, input", "optimiser"
AFTER, STEP, REST = "warping and losses", "step", "everything else"
WARPING, LABEL, FIELD = "- warping", "- label loss", "- regularisation"
SUMMED = (FORWARD, BACKWARD, DRAW, AFTER, OPTIMISER)
ORDER = (
    FORWARD, BACKWARD, DRAW, AFTER, WARPING, LABEL, FIELD, OPTIMISER, REST, STEP,
)  # fmt: skip
BOTH, WARPED_LABEL = "forward and backward", "warping and label loss"


def measure(setting: list, augmented: bool, repeats: int) -> dict[str, list[float]]:
    """
    Time the parts of a step in turn.

    :param setting: a `Setting`.
    :param augmented: draw affine maps and frames.
    :param repeats: rounds.
    :return: seconds by part, and of the step.
    """
    own = models.read_setting(setting)
    model = models.build_model(own, augmented)
    network, batch_of = model.network, models.draw(model, own)
    drawn = models.graph(lambda seed: models.touch(batch_of(seed)))
    batch = batch_of(tf.constant([0, 0]))
    ddf = network(batch.moving_input, batch.fixed_input, training=True)
    found = interleave(
        {
            FORWARD: models.forward(network, own),
            BOTH: models.forward_and_backward(
                network, network.trainable_variables, own
            ),
            DRAW: models.seeded(drawn),
            **_after_the_network(own, ddf, batch),
            OPTIMISER: _update(network.trainable_variables),
            STEP: models.inner_step(model, own),
        },
        repeats,
    )
    return {name: values.tolist() for name, values in split(found).items()}


def split(timed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """
    Return the parts of the step from what was timed.

    :param timed: seconds by name, shape = (repeats,); some calls are two parts.
    :return: seconds by part in the order of the table.
    """
    found = dict(timed)
    found[BACKWARD] = found.pop(BOTH) - found[FORWARD]
    found[LABEL] = found.pop(WARPED_LABEL) - found[WARPING]
    found[REST] = found[STEP] - sum(found[name] for name in SUMMED)
    return {name: found[name] for name in ORDER}


def _after_the_network(
    setting: Setting, ddf: tf.Tensor, batch: Batch
) -> dict[str, Callable[[], object]]:
    """Return calls of warping and losses, each with its gradient to the field."""
    config = models.loss_config(setting)

    def loss_of(*names: str) -> Callable[[tf.Tensor], tf.Tensor]:
        loss = RegistrationLoss({name: config[name] for name in names}, labeled=True)
        return lambda field: loss.parts(field, batch)["total"]

    def warped_sum(field: tf.Tensor) -> tf.Tensor:
        loc = locations(field, batch.matrix, batch.offset)
        return tf.reduce_sum(sample(batch.moving_label, loc))

    functions = {
        AFTER: loss_of(*config),
        WARPING: warped_sum,
        WARPED_LABEL: loss_of("label"),
        FIELD: loss_of("regularization"),
    }
    return {name: _with_gradient(call, ddf) for name, call in functions.items()}


def _with_gradient(
    function: Callable[[tf.Tensor], tf.Tensor], ddf: tf.Tensor
) -> Callable[[], Any]:
    """Return a graph of a value and its gradient to the field, compiled as one."""

    def both(field: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(field)
            value = function(field)
        return value, tape.gradient(value, field)

    compiled = models.graph(both, jit_compile=True)
    return models.graph(lambda: models.touch(compiled(ddf)))


def _update(variables: list[tf.Variable]) -> Callable[[], tf.Tensor]:
    """Return a graph that applies gradients of one size to all weights."""
    optimizer = build_optimizer(models.OPTIMIZER)
    optimizer.build(variables)
    rng = np.random.default_rng(2)
    gradients = [
        tf.constant(rng.normal(size=variable.shape), tf.float32)
        for variable in variables
    ]

    @models.graph
    def call() -> tf.Tensor:
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return optimizer.iterations.read_value()

    return call


def run(quick: bool) -> Table:
    """Return the parts of the step of every setting."""
    table = Table("The parts of an inner step", COLUMNS, NOTE)
    sizes = [TINY] if quick else [SMALL, MIDDLE]
    backbones = [LOCAL] if quick else [LOCAL, UNET]
    jobs = [
        (size._replace(backbone=backbone), draws)
        for backbone in backbones
        for size in sizes
        for draws in (list(DRAWS)[1:] if quick else DRAWS)
    ]
    for setting, draws in track(jobs, "parts"):
        found = measured(
            "parts",
            quick,
            setting=setting,
            augmented=DRAWS[draws],
            repeats=2 if quick else 15,
        )
        step = np.array(found[STEP])
        for name in ORDER:
            seconds = np.array(found[name])
            share = float(np.median(100 * seconds / step))
            time = spread(1e3 * seconds)
            table.add(setting.network, setting.grid, draws, name, time, share)
    return table
