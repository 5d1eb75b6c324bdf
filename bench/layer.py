"""What the meta-regularisation layer adds to the time of a network."""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import models
import numpy as np
import tensorflow as tf
from child import measured
from timing import Table, interleave, paired, spread, track

from deepreg_meta.model.field_network import FieldNetwork

WITHOUT = "without the layer"
# that which is to cost the least first, next to the network without the layer
FORMS = ("separable", "penalty", "cholesky", "radial")
PREDICTION, TRAINING = "prediction", "training step"
TIMED = (PREDICTION, TRAINING)
COLUMNS = {
    "network": "",
    "fixed grid": "",
    "timed": "",
    WITHOUT: "ms",
    **{f"{form} / without": "" for form in FORMS},
}
NOTE = (
    "The same network with and without the layer of each parameterization, in turn in "
    "one process, batch 1, float32; kernels of the default size, 13 x 13 taps, in 3-D "
    "7 x 7 x 7. Prediction is one forward pass. A training step is the forward pass "
    "and the gradients of all weights, from a gradient of the field as a loss hands it "
    "back and from the penalty of the kernel where there is one; draw, warping, losses "
    "and optimiser, which are the same in all columns, are left out. Median (10th to "
    "90th percentile), of ratios that of each round. Empty: `cholesky` is for images "
    "alone."
)


class Job(NamedTuple):
    """A network without the layer, and how often it is timed; JSON can hold it."""

    backbone: str
    channels: int  # of the first layer
    depth: int  # halvings of the grid
    fixed: tuple[int, int, int]
    repeats: int

    @property
    def network(self) -> str:
        """Backbone and width, as tables show them."""
        return f"`{self.backbone}`, {self.channels} channels"

    @property
    def grid(self) -> str:
        """Fixed grid, as tables show it."""
        return " x ".join(map(str, self.fixed))

    @property
    def forms(self) -> tuple[str, ...]:
        """The parameterizations that there are on the grid."""
        is_image = 1 in self.fixed
        return tuple(form for form in FORMS if is_image or form != "cholesky")


def measure(job: list) -> dict[str, dict[str, list[float]]]:
    """
    Time a network in turn with the same one with each layer.

    :param job: a `Job`.
    :return: for each of `TIMED`, seconds of each round by form, `WITHOUT` among them.
    """
    backbone, channels, depth, fixed, repeats = job
    own = Job(backbone, channels, depth, tuple(fixed), repeats)
    networks = {form: network_of(own, form) for form in (WITHOUT, *own.forms)}
    found = {}
    for timed in TIMED:
        calls = {
            form: timed_call(network, own.fixed, timed)
            for form, network in networks.items()
        }
        seconds = interleave(calls, repeats, warm_up=3)
        found[timed] = {form: values.tolist() for form, values in seconds.items()}
    return found


def network_of(job: Job, form: str) -> FieldNetwork:
    """
    Build a network.

    :param job: its backbone and grid.
    :param form: of the layer around it, or `WITHOUT`.
    :return: the network; the weights of its backbone are the same for every form.
    """
    tf.keras.utils.set_random_seed(0)
    config: dict[str, Any] = dict(
        name=job.backbone, num_channel_initial=job.channels, depth=job.depth
    )
    if form != WITHOUT:
        config = dict(name="meta_regularized", backbone=config, parameterization=form)
    return FieldNetwork("ddf", config, job.fixed)


def timed_call(
    network: FieldNetwork, size: tuple[int, int, int], timed: str
) -> Callable[[], list[tf.Tensor]]:
    """Return a graph of one prediction, or of one training step, on a random pair."""
    rng = np.random.default_rng(0)
    moving, fixed = tf.constant(rng.random((2, 1, *size)), tf.float32)
    upstream = tf.constant(rng.normal(size=(1, *size, 3)), tf.float32)

    def predict() -> list[tf.Tensor]:
        return models.touch(network(moving, fixed, training=False))

    def step() -> list[tf.Tensor]:
        return models.touch(gradients_of(network, moving, fixed, upstream))

    return models.graph(predict if timed == PREDICTION else step)


def gradients_of(
    network: FieldNetwork, moving: tf.Tensor, fixed: tf.Tensor, upstream: tf.Tensor
) -> list[tf.Tensor]:
    """
    Return the gradients of all weights.

    :param network: to run in training.
    :param moving: image, shape = (1, d1, d2, d3).
    :param fixed: image, shape = (1, d1, d2, d3).
    :param upstream: gradient of the loss to the field, shape = (1, d1, d2, d3, 3).
    """
    with tf.GradientTape() as tape:
        field = network(moving, fixed, training=True)
        penalty = network.penalty()
    targets, given = [field], [upstream]
    if penalty is not None:
        targets, given = [field, penalty], [upstream, tf.ones_like(penalty)]
    return tape.gradient(targets, network.trainable_variables, given)


def jobs(quick: bool) -> list[Job]:
    """Return what is timed: images of three sizes, a wider network, and a volume."""
    if quick:
        tiny = [((8, 10, 1), "unet_transposed"), ((8, 8, 6), "unet")]
        return [Job(name, 2, 1, size, 2) for size, name in tiny]
    images = [
        Job("unet_transposed", 16, 4, (side, side, 1), repeats)
        for side, repeats in ((64, 80), (128, 60), (256, 30))
    ]
    wide = Job("unet_transposed", 32, 4, (128, 128, 1), 40)
    return [*images, wide, Job("unet", 8, 3, (64, 64, 64), 30)]


def run(quick: bool) -> Table:
    """Return the table of all networks."""
    table = Table("The layer, against the same network without it", COLUMNS, NOTE)
    for job in track(jobs(quick), "layer"):
        found = measured("layer", quick, job=job)
        for timed in TIMED:
            seconds = found[timed]
            without = np.array(seconds[WITHOUT])
            ratios = [
                paired(seconds[form], without) if form in seconds else None
                for form in FORMS
            ]
            table.add(job.network, job.grid, timed, spread(1e3 * without), *ratios)
    return table


if __name__ == "__main__":
    print(run(quick="--quick" in sys.argv).markdown())
