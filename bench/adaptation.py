"""Adaptation to one pair: the first call, the updates, the prediction."""

import models
import numpy as np
from child import measured
from models import MIDDLE, SMALL, TINY, UNET
from timing import Table, interleave, paired, seconds, spread, track

COLUMNS = {
    "backbone": "",
    "fixed grid": "",
    "frames": "",
    "updates": "",
    "first call": "s",
    "adaptation and prediction": "s",
    "prediction alone": "s",
    "network alone": "s",
    "adaptation and prediction / network alone": "",
}
NOTE = (
    "The first call traces and compiles, in a new process whose model is built. The "
    "network alone: as many forward and backward passes as updates, and one forward "
    "pass, timed in turn with the rest in that process. A sweep shows one more frame "
    "at each update, so that alignment and label change with it. Median (10th to 90th "
    "percentile)."
)
FRAMES = {"all": False, "sweep": True}
WHOLE, PREDICTION, NETWORK, FIRST = "whole", "prediction", "network", "first"


def measure(
    setting: list, sweep: bool, num_steps: int, repeats: int
) -> dict[str, list[float]]:
    """
    Time the first adaptation of this process, then further ones in turn with others.

    :param setting: a `Setting`.
    :param sweep: frames come one by one; otherwise everything is seen from the start.
    :param num_steps: updates N.
    :param repeats: rounds.
    :return: seconds by name.
    """
    own = models.read_setting(setting)
    model = models.build_model(own, augmented=sweep, adapt_steps=num_steps)
    adapt = models.adaptation(model, own)
    first = seconds(adapt)
    network = model.network
    passes = models.forward_and_backward(network, network.trainable_variables, own)
    forward = models.forward(network, own, training=False)
    found = interleave(
        {
            WHOLE: adapt,
            PREDICTION: models.adaptation(models.build_model(own, sweep), own),
            NETWORK: lambda: [*(passes() for _ in range(num_steps)), forward()],
        },
        repeats,
    )
    return {FIRST: [first], **{name: found[name].tolist() for name in found}}


def run(quick: bool) -> Table:
    """Return the table of all settings."""
    table = Table("Adaptation of one pair", COLUMNS, NOTE)
    num_steps = 2 if quick else 8
    settings = [TINY] if quick else [SMALL, SMALL._replace(backbone=UNET), MIDDLE]
    jobs = [(setting, frames) for setting in settings for frames in FRAMES]
    for setting, frames in track(jobs, "adaptation"):
        found = measured(
            "adaptation",
            quick,
            setting=setting,
            sweep=FRAMES[frames],
            num_steps=num_steps,
            repeats=2 if quick else 7,
        )
        table.add(
            setting.network,
            setting.grid,
            frames,
            num_steps,
            float(np.mean(found[FIRST])),
            spread(found[WHOLE]),
            spread(found[PREDICTION]),
            spread(found[NETWORK]),
            paired(found[WHOLE], found[NETWORK]),
        )
    return table
