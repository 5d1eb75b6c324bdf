"""Laws, values and errors of deepreg_meta.evaluate.plot."""

import numpy as np
import pytest
from matplotlib.image import imread

from deepreg_meta.evaluate import plot


@pytest.fixture
def drawn(monkeypatch):
    """Figures that are drawn, held back from their files."""
    figures = []
    monkeypatch.setattr(
        plot, "save_figure", lambda fig, path: figures.append(fig) or path
    )
    return figures


def test_plots_become_files_and_a_seed_makes_them_repeat(tmp_path):
    series = {"before": [0.5, 0.7, 0.6], "adapted": [0.9, None, 0.8]}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        plot.box_plot(tmp_path / f"{name}.png", series, "Dice", seed=seed)
    a, b, c = (imread(tmp_path / f"{name}.png") for name in "abc")
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)
    assert plot.curves(tmp_path / "d.png", {"loss": [[1, 0.5]]}).is_file()


def test_the_box_holds_the_quartiles_and_the_whiskers_reach_10_and_90_percent(drawn):
    plot.box_plot("unused.png", {"all": range(101)}, "TRE (mm)")
    axes = drawn[0].axes[0]
    whiskers = [line.get_ydata() for line in axes.lines[:2]]
    np.testing.assert_allclose(whiskers, [[25, 10], [75, 90]])
    assert axes.get_ylabel() == "TRE (mm)"


def test_every_point_that_exists_is_drawn_and_counted(drawn):
    plot.box_plot("unused.png", {"a": [3, None, float("nan"), 5], "b": []}, "Dice")
    axes = drawn[0].axes[0]
    (points,) = (
        line
        for line in axes.lines
        if line.get_marker() == "o" and len(line.get_ydata())
    )
    assert points.get_ydata().tolist() == [3, 5]
    labels = [tick.get_text() for tick in axes.get_xticklabels()]
    assert labels == ["a\nn = 2", "b\nn = 0"]


def test_curves_show_the_mean_and_the_range_of_the_cases_that_are_left(drawn):
    plot.curves("unused.png", {"loss": [[4, 2, 1], [2, None], [3]], "dsc": [[0.5]]})
    loss, dsc = drawn[0].axes
    assert loss.lines[0].get_xdata().tolist() == [0, 1, 2]
    assert loss.lines[0].get_ydata().tolist() == [3, 2, 1]
    box = loss.collections[0].get_paths()[0].get_extents()
    assert (box.y0, box.y1) == (1, 4)
    assert (loss.get_ylabel(), loss.get_title()) == ("loss", "3 cases")
    assert dsc.get_title() == "1 case"


def test_plots_of_nothing_are_refused():
    with pytest.raises(ValueError, match=r"one series with values, got \['a'\]"):
        plot.box_plot("unused.png", {"a": [None]}, "Dice")
    with pytest.raises(ValueError, match=r"one history with values, got \[\]"):
        plot.curves("unused.png", {})
