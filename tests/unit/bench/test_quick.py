"""
All parts on tiny sizes, as `python bench/run.py --quick` runs them.

Steps and episodes are traced as graphs where memory is measured, in processes of their
own, and the layer in `test_layer.py`: to trace them here too takes a minute.
"""

import pytest

pytestmark = pytest.mark.slow


def middles(rows: list[dict], name: str) -> list[float]:
    """:return: the medians of a column, where it has one."""
    return [row[name].middle for row in rows if row[name] is not None]


def test_steps_of_both_networks_and_ways_of_drawing(untraced, table_of):
    rows = table_of("steps")
    assert [(row["backbone"][:5], row["draws"]) for row in rows] == [
        (backbone, draws)
        for backbone in ("Local", "U-Net")
        for draws in ("plain", "affine maps, sparse frames")
    ]
    for name in ("step", "network", "DeepReg's network", "DeepReg's step"):
        assert min(middles(rows, name)) > 0


def test_parts_add_up_to_the_step(load, table_of):
    rows = table_of("parts")
    parts = load("parts")
    assert [row["part"] for row in rows] == list(parts.ORDER)
    # of two rounds the median is the mean, so that it is additive
    time = {row["part"]: row["time"].middle for row in rows}
    summed = sum(time[name] for name in parts.SUMMED)
    assert summed + time[parts.REST] == pytest.approx(time[parts.STEP])
    alone = (parts.FORWARD, parts.DRAW, parts.AFTER, parts.WARPING, parts.OPTIMISER)
    assert min(time[name] for name in alone) > 0


def test_the_layer_in_every_form_that_a_grid_has(untraced, table_of):
    rows = table_of("layer")
    assert [(row["fixed grid"], row["timed"]) for row in rows] == [
        (grid, timed)
        for grid in ("8 x 10 x 1", "8 x 8 x 6")
        for timed in ("prediction", "training step")
    ]
    names = ["separable / without", "penalty / without", "radial / without"]
    for name in [*names, "without the layer"]:
        assert len(middles(rows, name)) == 4 and min(middles(rows, name)) > 0
    assert len(middles(rows[:2], "cholesky / without")) == 2
    assert middles(rows[2:], "cholesky / without") == []  # of a volume


def test_adaptation_of_all_frames_and_of_a_sweep(table_of):
    rows = table_of("adaptation")
    assert [row["frames"] for row in rows] == ["all", "sweep"]
    for row in rows:
        assert row["first call"] > row["adaptation and prediction"].middle > 0
        assert row["prediction alone"].middle > 0


def test_episodes_of_several_lengths(untraced, table_of):
    rows = table_of("episodes")
    assert [row["k"] for row in rows] == [1, 3]
    assert min(middles(rows, "episode") + middles(rows, "inner step")) > 0


def test_memory_of_our_calls_and_of_deepreg(table_of):
    """TensorFlow alone takes tens of MiB for a first graph; the imports, hundreds."""
    rows = table_of("memory")
    assert [row["what"] for row in rows] == [
        "episode, then adaptation",
        "DeepReg's step",
    ]
    assert all(20 < row["peak"] < 2000 for row in rows)
    assert min(row["call"] for row in rows) > 0
