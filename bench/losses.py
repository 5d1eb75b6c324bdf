"""Each loss against DeepReg's: its value with the gradient to what a step changes."""

import sys
from collections.abc import Callable
from typing import NamedTuple

import models
import numpy as np
import tensorflow as tf
from child import measured
from deepreg.loss import deform, image, label
from models import MIDDLE, SMALL, TINY
from timing import Table, interleave, paired, spread, track

from deepreg_meta.loss.deform import BendingEnergy, GradientNorm
from deepreg_meta.loss.image import LocalNcc
from deepreg_meta.loss.label import MultiScaleDice

COLUMNS = {
    "loss": "",
    "fixed grid": "",
    "graph": "",
    "DeepReg": "ms",
    "ours": "ms",
    "times as fast": "",
    "preparation": "ms",
}
NOTE = (
    "Value and gradient to the warped label, the warped image or the field, in turn in "
    "one process. Dice has the scales 0, 1, 2, 4, 8, 16 and 32 voxels, the local "
    "correlation rectangular windows of 9 voxels. Preparation is what ours computes of "
    "the fixed side once per pair, or once per draw where augmentation changes it, and "
    "DeepReg's at every step. Where DeepReg's has convolutions, which XLA compiles "
    "badly on CPUs, its plain graph stands in both rows. Median (10th to 90th "
    "percentile)."
)
DEEPREG, OURS, PREPARE = "DeepReg", "ours", "preparation"
DICE, BENDING, GRADIENT, NCC = "dice", "bending", "gradient", "lncc"
CONVOLVED = (DICE, NCC)
Loss = Callable[[tf.Tensor], tf.Tensor]


class Pair(NamedTuple):
    """A loss of DeepReg's and ours, as functions of the side that a step changes."""

    deepreg: Loss
    ours: Callable[[object, tf.Tensor], tf.Tensor]  # of what was prepared, too
    prepare: Callable[[], object] | None  # of the fixed side


def build(name: str, size: list[int], rng: np.random.Generator) -> Pair:
    """
    Return the losses of one name; those of two images share the fixed one.

    :param name: DeepReg's.
    :param size: of the grid.
    :param rng: draws the fixed image.
    """
    if name == BENDING:
        return Pair(deform.BendingEnergy(), lambda _, x: BendingEnergy()(x), None)
    if name == GRADIENT:
        return Pair(deform.GradientNorm(), lambda _, x: GradientNorm()(x), None)
    fixed = tf.constant(rng.random((1, *size), np.float32))
    if name == DICE:
        own = MultiScaleDice(SMALL.scales)
        deepreg = label.DiceLoss(scales=list(SMALL.scales))
    else:
        own = LocalNcc()
        deepreg = image.LocalNormalizedCrossCorrelationLoss()
    return Pair(
        lambda x: deepreg(fixed, x),
        lambda target, x: tf.reduce_sum(own.evaluate(target, x)),
        lambda: own.prepare(fixed),
    )


def measure(
    name: str, size: list[int], compiled: bool, repeats: int
) -> dict[str, list[float]]:
    """
    Time DeepReg's loss, ours and its preparation in turn.

    :param name: DeepReg's.
    :param size: of the grid.
    :param compiled: by XLA.
    :param repeats: rounds.
    :return: seconds of each round.
    """
    rng = np.random.default_rng(0)
    pair = build(name, size, rng)
    shape = (1, *size) if name in CONVOLVED else (1, *size, 3)
    changed = tf.constant(rng.random(shape, np.float32))
    options = dict(jit_compile=True) if compiled else {}

    def with_gradient(loss: Loss, **options: bool) -> Callable:
        def values(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            with tf.GradientTape() as tape:
                tape.watch(x)
                value = loss(x)
            return value, tape.gradient(value, x)

        function = models.graph(values, **options)
        return lambda: function(changed)

    target = pair.prepare() if pair.prepare else None
    calls = {
        DEEPREG: with_gradient(pair.deepreg, **({} if name in CONVOLVED else options)),
        OURS: with_gradient(lambda x: pair.ours(target, x), **options),
    }
    if pair.prepare:
        prepare = pair.prepare
        calls[PREPARE] = models.graph(lambda: _tensors(prepare()), **options)
    return {key: time.tolist() for key, time in interleave(calls, repeats).items()}


def _tensors(target: object) -> list[tf.Tensor]:
    """Return the tensors of what was prepared."""
    return [part for part in tf.nest.flatten(target) if part is not None]


def run(quick: bool) -> Table:
    """Return the table of all losses."""
    table = Table("Losses, against DeepReg's", COLUMNS, NOTE)
    settings, repeats = ([TINY], 2) if quick else ([SMALL, MIDDLE], 15)
    cases = [
        (name, setting, compiled)
        for name in (DICE, BENDING, GRADIENT, NCC)
        for setting in settings
        for compiled in (False, True)
    ]
    for name, setting, compiled in track(cases, "losses"):
        found = measured(
            "losses",
            quick,
            name=name,
            size=setting.fixed,
            compiled=compiled,
            repeats=repeats,
        )
        deepreg, ours = (1e3 * np.array(found[key]) for key in (DEEPREG, OURS))
        prepared = spread(1e3 * np.array(found[PREPARE])) if PREPARE in found else None
        table.add(
            name,
            setting.grid,
            "compiled" if compiled else "plain",
            spread(deepreg),
            spread(ours),
            paired(deepreg, ours),
            prepared,
        )
    return table


if __name__ == "__main__":
    print(run(quick="--quick" in sys.argv).markdown())
