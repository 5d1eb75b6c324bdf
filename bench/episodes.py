"""An episode of k inner steps against k single ones."""

from collections.abc import Callable

import models
import numpy as np
from child import measured
from models import SMALL, TINY
from steps import DRAWS
from timing import Table, interleave, paired, spread, track

COLUMNS = {
    "backbone": "",
    "fixed grid": "",
    "draws": "",
    "k": "",
    "episode": "s",
    "inner step": "ms",
    "episode / k inner steps": "",
}
NOTE = (
    "An inner step is a graph of its own: draw, network, losses, update. The episode "
    "adds what a pair needs once, a new optimiser, and the outer update. A single step "
    "is timed before each episode, and their mean counts in a round. Median (10th to "
    "90th percentile)."
)


def measure(
    setting: list, augmented: bool, lengths: list[int], repeats: int
) -> dict[str, list[float]]:
    """
    Time episodes in turn with single inner steps.

    :param setting: a `Setting`.
    :param augmented: draw affine maps and frames.
    :param lengths: several k.
    :param repeats: rounds.
    :return: seconds of episodes, by k as a word, and of an inner step, by `step`.
    """
    own = models.read_setting(setting)
    step = models.inner_step(models.build_model(own, augmented), own)
    calls: dict[str, Callable[[], object]] = {}
    for k in lengths:
        calls[f"step before {k}"] = step
        model = models.build_model(own, augmented, inner_steps=k)
        calls[str(k)] = models.episode(model, own)
    found = interleave(calls, repeats)
    single = np.mean([found.pop(f"step before {k}") for k in lengths], axis=0)
    return {"step": single.tolist(), **{name: found[name].tolist() for name in found}}


def run(quick: bool) -> Table:
    """Return the table of all settings."""
    table = Table("An episode against its inner steps", COLUMNS, NOTE)
    settings = [TINY] if quick else [SMALL]
    draws = list(DRAWS)[:1] if quick else list(DRAWS)
    lengths = [1, 3] if quick else [1, 5, 10, 20]
    jobs = [(setting, way) for setting in settings for way in draws]
    for setting, way in track(jobs, "episodes"):
        found = measured(
            "episodes",
            quick,
            setting=setting,
            augmented=DRAWS[way],
            lengths=lengths,
            repeats=2 if quick else 7,
        )
        single = np.array(found["step"])
        for k in lengths:
            table.add(
                setting.network,
                setting.grid,
                way,
                k,
                spread(found[str(k)]),
                spread(1e3 * single),
                paired(found[str(k)], k * single),
            )
    return table
