"""Warping and integration against DeepReg's, as plain graphs and compiled by XLA."""

import sys
from collections.abc import Callable

import models
import numpy as np
import tensorflow as tf
from child import measured
from deepreg.model import layer_util
from deepreg.model.layer import IntDVF
from timing import Table, interleave, paired, spread, track

from deepreg_meta.layer.warp import integrate, warp

COLUMNS = {
    "what": "",
    "volume": "",
    "channels": "",
    "graph": "",
    "time of": "",
    "DeepReg": "ms",
    "ours": "ms",
    "times as fast": "",
}
NOTE = (
    "DeepReg's `resample` and `IntDVF` against `warp` and `integrate`, in turn in one "
    "process, for a smooth field of up to about 3 voxels. The gradient is that to the "
    "field. `integrate` has its parts compiled in a plain graph already; as one piece "
    "with its gradient XLA compiles it for long, which is left out. Median (10th to "
    "90th percentile)."
)
DEEPREG, OURS = "DeepReg", "ours"
WARP, INTEGRATE = "warp", "integrate"
VALUE, GRADIENT = "value", "value and gradient"


def measure(
    what: str, side: int, channels: int, compiled: bool, timed: str, repeats: int
) -> dict[str, list[float]]:
    """
    Time DeepReg's way and ours in turn.

    :param what: WARP or INTEGRATE.
    :param side: of the cube, voxels.
    :param channels: of the volume; 1 has no axis for it, as images have none.
    :param compiled: by XLA.
    :param timed: VALUE or GRADIENT.
    :param repeats: rounds.
    :return: seconds of each round.
    """
    rng = np.random.default_rng(0)
    ddf = smooth_field(rng, side)
    if what == WARP:
        functions = _warps(rng, side, channels)
    else:
        functions = {DEEPREG: IntDVF(fixed_image_size=(side,) * 3), OURS: integrate}
    calls = {
        name: _call(function, ddf, compiled, timed == GRADIENT)
        for name, function in functions.items()
    }
    found = interleave(calls, repeats)
    return {name: seconds.tolist() for name, seconds in found.items()}


def smooth_field(rng: np.random.Generator, side: int) -> tf.Tensor:
    """Return a field of one wave per axis, shape = (1, side, side, side, 3)."""
    axes = np.meshgrid(*[np.linspace(0, 2 * np.pi, side)] * 3, indexing="ij")
    waves = [
        sum(np.sin(axis + phase) for axis, phase in zip(axes, phases, strict=True))
        for phases in rng.uniform(0, 2 * np.pi, (3, 3))
    ]
    return tf.constant(np.stack(waves, axis=-1)[None], tf.float32)


def _warps(
    rng: np.random.Generator, side: int, channels: int
) -> dict[str, Callable[[tf.Tensor], tf.Tensor]]:
    """Return DeepReg's warp of one volume, as its `Warping` does it, and ours."""
    shape = (1, side, side, side) + (channels,) * (channels > 1)
    volume = tf.constant(rng.random(shape, np.float32))
    grid = layer_util.get_reference_grid((side,) * 3)
    return {
        DEEPREG: lambda ddf: layer_util.resample(vol=volume, loc=grid[None] + ddf),
        OURS: lambda ddf: warp(volume, ddf),
    }


def _call(
    function: Callable[[tf.Tensor], tf.Tensor],
    ddf: tf.Tensor,
    compiled: bool,
    with_gradient: bool,
) -> Callable[[], list[tf.Tensor]]:
    """Return a call of a graph of a function, with its gradient to the field or not."""

    def values(ddf: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(ddf)
            value = function(ddf)
            total = tf.reduce_sum(value**2)
        return [value, tape.gradient(total, ddf)] if with_gradient else [value]

    run_graph = models.graph(values, **(dict(jit_compile=True) if compiled else {}))
    return lambda: run_graph(ddf)


def cases(quick: bool) -> list[tuple[str, int, int, bool, int]]:
    """Return what, side, channels, compiled and rounds of each comparison."""
    if quick:
        return [(WARP, 6, 1, False, 2), (INTEGRATE, 6, 3, False, 2)]
    warps = [
        (WARP, side, channels, compiled, repeats)
        for side, channels, repeats in ((64, 1, 25), (64, 3, 25), (128, 1, 9))
        for compiled in (False, True)
    ]
    return [*warps, (INTEGRATE, 64, 3, False, 7)]


def run(quick: bool) -> Table:
    """Return the table of all comparisons."""
    table = Table("Warping, against DeepReg's", COLUMNS, NOTE)
    for what, side, channels, compiled, repeats in track(cases(quick), "warping"):
        options = dict(what=what, side=side, channels=channels, compiled=compiled)
        for timed in (VALUE, GRADIENT):
            found = measured("warping", quick, timed=timed, repeats=repeats, **options)
            deepreg, ours = (1e3 * np.array(found[name]) for name in (DEEPREG, OURS))
            table.add(
                what,
                " x ".join([str(side)] * 3),
                channels,
                "compiled" if compiled else "plain",
                timed,
                spread(deepreg),
                spread(ours),
                paired(deepreg, ours),
            )
    return table


if __name__ == "__main__":
    print(run(quick="--quick" in sys.argv).markdown())
