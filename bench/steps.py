"""DeepReg's own step and ours, side by side with the network alone."""

from collections.abc import Callable

import models
import numpy as np
from child import ChildError, measured
from models import LARGE, LOCAL, MIDDLE, SMALL, TINY, UNET, Setting
from timing import Table, interleave, paired, spread, track

COLUMNS = {
    "backbone": "",
    "fixed grid": "",
    "draws": "",
    "DeepReg's step": "ms",
    "step": "ms",
    "DeepReg's network": "ms",
    "network": "ms",
    "step / network": "",
    "step / DeepReg's network": "",
    "DeepReg's step / step": "",
}
NOTE = (
    "Batch 1, Dice at seven scales, bending energy, Adam; float32 but where the "
    "backbone says otherwise (DeepReg's has float32 in any case). A step is an "
    "episode divided by its k inner steps. A network is its forward and backward pass "
    "alone: DeepReg's with the layers as DeepReg builds them, ours as our steps run "
    "it. All columns of a grid come from one process and are timed in turn; median "
    "(10th to 90th percentile). An empty column: DeepReg's step draws nothing, or it "
    "did not fit."
)
DEEPREG, DEEPREG_NETWORK, NETWORK = "DeepReg", "DeepReg's network", "network"
DRAWS = {"plain": False, "affine maps, sparse frames": True}


def times(call: Callable[[], object], number: int) -> Callable[[], object]:
    """Return a call that makes several, one after the other."""
    return lambda: [call() for _ in range(number)]


def measure(
    setting: list, inner_steps: int, repeats: int, with_deepreg: bool = True
) -> dict[str, list[float]]:
    """
    Time steps and networks in turn.

    :param setting: a `Setting`.
    :param inner_steps: k; everything else runs as often.
    :param repeats: rounds.
    :param with_deepreg: DeepReg's step takes part, which needs the most memory.
    :return: seconds per step or pass, by name.
    """
    own = models.read_setting(setting)
    calls: dict[str, Callable[[], object]] = {}
    for name, augmented in DRAWS.items():
        model = models.build_model(own, augmented, inner_steps)
        calls[name] = models.episode(model, own)
    network = model.network
    alone = models.forward_and_backward(network, network.trainable_variables, own)
    calls[NETWORK] = times(alone, inner_steps)
    deepreg = models.build_deepreg(own)
    alone = models.forward_and_backward(
        models.deepreg_network(deepreg), deepreg.trainable_variables, own
    )
    calls[DEEPREG_NETWORK] = times(alone, inner_steps)
    if with_deepreg:
        calls[DEEPREG] = times(models.deepreg_step(deepreg, own), inner_steps)
    found = interleave(calls, repeats, warm_up=1)
    return {name: (found[name] / inner_steps).tolist() for name in found}


def settings(quick: bool) -> list[tuple[Setting, int, int]]:
    """Return the settings, each with its inner steps and rounds."""
    if quick:
        return [(TINY, 2, 2), (TINY._replace(backbone=UNET), 2, 2)]
    sizes = [(SMALL, 5, 12), (MIDDLE, 5, 6), (LARGE, 1, 3)]
    both = [
        (size._replace(backbone=backbone), steps, repeats)
        for backbone in (LOCAL, UNET)
        for size, steps, repeats in sizes
    ]
    narrow = both[-1][0]._replace(channels=8)
    half = [
        (size._replace(precision="mixed_bfloat16"), steps, repeats)
        for size, steps, repeats in sizes[:2]
    ]
    return [*both[:-1], (narrow, *both[-1][1:]), *half]


def run(quick: bool) -> Table:
    """Return the table of all settings."""
    table = Table("Steps, against DeepReg's and against the network alone", COLUMNS)
    table.note = NOTE
    for setting, inner_steps, repeats in track(settings(quick), "steps"):
        options = dict(setting=setting, inner_steps=inner_steps, repeats=repeats)
        try:
            found = measured("steps", quick, **options)
        except ChildError:
            found = measured("steps", quick, with_deepreg=False, **options)
        add_rows(table, setting, found)
    return table


def add_rows(table: Table, setting: Setting, seconds: dict[str, list[float]]) -> None:
    """Append the rows of a setting, one for each way of drawing."""
    network, deepreg_network = seconds[NETWORK], seconds[DEEPREG_NETWORK]
    deepreg = seconds.get(DEEPREG)
    for draws in DRAWS:
        step = seconds[draws]
        # DeepReg's step draws nothing
        other = None if DRAWS[draws] else deepreg
        table.add(
            setting.network,
            setting.grid,
            draws,
            None if other is None else spread(1e3 * np.array(other)),
            spread(1e3 * np.array(step)),
            spread(1e3 * np.array(deepreg_network)),
            spread(1e3 * np.array(network)),
            paired(step, network),
            paired(step, deepreg_network),
            None if other is None else paired(other, step),
        )
