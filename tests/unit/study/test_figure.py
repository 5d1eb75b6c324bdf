"""Tests of the figures of a study: what they read, and that they are drawn."""

from dataclasses import replace

import pandas as pd
import pytest

from deepreg_meta.evaluate.plot import COLOURS
from deepreg_meta.study import figure
from deepreg_meta.study.figure import (
    epoch_curves,
    loss_curves,
    loss_history,
    method_boxes,
    setting_value,
    sweep_curves,
)


def test_an_epoch_that_was_run_twice_counts_as_its_second_run(tmp_path):
    # stopped after epoch 2, whose checkpoint was not saved yet: 1 and 2 come again
    rows = [(0, 9.0), (1, 8.0), (2, 7.0), (1, 6.0), (2, 5.0), (3, 4.0)]
    log = tmp_path / "log.csv"
    pd.DataFrame(rows, columns=["epoch", "loss"]).to_csv(log, index=False)
    assert loss_history(log).to_dict() == {0: 9.0, 1: 6.0, 2: 5.0, 3: 4.0}
    assert loss_history(log, "val_loss_unadapted").empty  # no validation


def test_the_penalty_of_a_kernel_is_left_out_of_the_loss(tmp_path):
    (tmp_path / "log.csv").write_text("epoch,loss,image,kernel\n0,-2.0,0.75,-3.0\n")
    assert loss_history(tmp_path / "log.csv").to_dict() == {0: 1.0}
    assert loss_history(tmp_path / "log.csv", "image").to_dict() == {0: 0.75}


def test_losses_are_drawn_of_the_runs_that_have_some(tmp_path, runs, monkeypatch):
    target = tmp_path / "loss.png"
    assert loss_curves(target, tmp_path, runs) is None
    both = [*runs, replace(runs[0], seed=2)]
    for run in (runs[0], both[-1]):
        folder = tmp_path / "runs" / run.name
        folder.mkdir(parents=True)
        (folder / "log.csv").write_text("epoch,loss\n0,1.0\n1,0.5\n")
    drawn = []
    monkeypatch.setattr(figure, "save_figure", lambda page, _: drawn.append(page))
    loss_curves(target, tmp_path, both, ["other", "plain", "layer"])
    first, second = drawn[0].axes[0].lines
    # a method has its place among all for its colour, a seed its style
    assert first.get_color() == second.get_color() == COLOURS[1]
    assert first.get_linestyle() != second.get_linestyle()
    (legend,) = drawn[0].legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["plain", "seed 1", "seed 2"]
    monkeypatch.undo()
    assert loss_curves(target, tmp_path, both) == target
    assert target.stat().st_size > 1000


def test_a_setting_of_one_key_is_read_as_its_number():
    assert setting_value("weight=0.04") == pytest.approx(0.04)


def test_sweeps_and_boxes_are_drawn(tmp_path):
    table = pd.DataFrame(
        dict(method=["a", "a"], setting=["w=0.1", "w=0.01"], dice=[0.5, 0.6])
    )
    shown = {"Dice (%)": ("dice", 100.0)}
    assert sweep_curves(tmp_path / "s.png", table, shown, "w").is_file()
    rows = pd.DataFrame(dict(method=["a", "b"], seed=0, case="x", dice=[0.5, 0.6]))
    assert method_boxes(tmp_path / "b.png", rows, "dice", "Dice").is_file()


def test_curves_over_epochs_are_drawn_with_levels(tmp_path):
    means = pd.DataFrame(
        dict(method=["a", "a", "a", "a", "b"], seed=[0, 1, 0, 1, 0],
             epoch=[0, 0, 10, 10, -1], asd=[3.0, 4.0, 1.0, 2.0, 2.5])
    )  # fmt: skip
    shown = {"ASD": ("asd", 1.0)}
    plain = epoch_curves(tmp_path / "plain.png", means, shown)
    levels = {"b": ("b", -1), "nobody": ("c", 3)}
    drawn = epoch_curves(tmp_path / "levels.png", means, shown, levels, "title")
    assert drawn.read_bytes() != plain.read_bytes()


def test_an_adaptation_is_named_once_above_its_highest_point(tmp_path, monkeypatch):
    """Those beside each other share a place."""
    points = {
        ("a", "none"): (0.0, 0.70), ("b", "none"): (0.0, 0.75),
        ("a", "ten"): (1.0, 0.79), ("b", "ten"): (1.0, 0.78),
        ("a", "more"): (1.1, 0.795), ("a", "long"): (2.0, 0.79),
        ("a", "low"): (1.0, 0.60), ("classical", ""): (1.1, 0.80),
    }  # fmt: skip
    rows = pd.DataFrame(
        [
            dict(method=method, adaptation=name, cpu_seconds=x, dice=y)
            for (method, name), (x, y) in points.items()
        ]
    )
    drawn = []
    monkeypatch.setattr(figure, "save_figure", lambda page, _: drawn.append(page))
    figure.time_curves(tmp_path / "time.png", rows)
    (axes,) = drawn[0].axes
    found = {text.get_text(): text.xy for text in axes.texts}
    assert found == {
        "none": (0.0, pytest.approx(75.0)),
        "more\nten": (pytest.approx(1.1), pytest.approx(79.5)),
        "long": (2.0, pytest.approx(79.0)),
        "low": (1.0, pytest.approx(60.0)),
    }
