"""Laws, values and errors of deepreg_meta.evaluate.plot."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
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


def points_of(axes):
    """x and y of the points, box by box."""
    return [
        (line.get_xdata(), line.get_ydata().tolist())
        for line in axes.lines
        if line.get_marker() == "o" and len(line.get_ydata())
    ]


def test_plots_become_files_and_a_seed_makes_them_repeat(tmp_path):
    series = {"before": [0.5, 0.7, 0.6], "adapted": [0.9, None, 0.8]}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        plot.box_plot(tmp_path / f"{name}.png", series, "Dice", seed=seed)
    a, b, c = (imread(tmp_path / f"{name}.png") for name in "abc")
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)
    assert plot.curves(tmp_path / "d.png", {"loss": [[1, 0.5]]}).is_file()
    svg = plot.grouped_box_plot(tmp_path / "e.svg", {"before": series}, "Dice")
    assert svg.read_text().startswith("<?xml")


def test_the_box_holds_the_quartiles_and_the_whiskers_reach_10_and_90_percent(drawn):
    plot.box_plot("unused.png", {"all": range(101)}, "TRE (mm)")
    axes = drawn[0].axes[0]
    whiskers = [line.get_ydata() for line in axes.lines[:2]]
    np.testing.assert_allclose(whiskers, [[25, 10], [75, 90]])
    assert axes.get_ylabel() == "TRE (mm)"


def test_every_point_that_exists_is_drawn_and_counted(drawn):
    plot.box_plot("unused.png", {"a, 5": [3, None, float("nan"), 5], "b": []}, "Dice")
    axes = drawn[0].axes[0]
    assert [y for _, y in points_of(axes)] == [[3, 5]]
    labels = [tick.get_text() for tick in axes.get_xticklabels()]
    assert labels == ["a\n5\nn = 2", "b\nn = 0"]


def test_a_series_has_one_colour_in_all_groups_and_one_line_in_the_legend(drawn):
    groups = {
        "before": {"all": [1, 2]},
        "adapted": {"k = 1": [3, 4], "k = 9": [5, None]},
        "late": {"k = 9": [6, 7]},
    }
    plot.grouped_box_plot("unused.png", groups, "Dice")
    axes, (legend,) = drawn[0].axes[0], drawn[0].legends
    assert [text.get_text() for text in legend.get_texts()] == ["all", "k = 1", "k = 9"]
    edges = [to_hex(patch.get_edgecolor()) for patch in axes.patches]
    assert edges == ["#0072b2", "#d55e00", "#009e73", "#009e73"]
    ticks = [tick.get_text() for tick in axes.get_xticklabels()]
    assert ticks == ["before\nn = 2", "adapted\nn = 1 to 2", "late\nn = 2"]
    found = points_of(axes)
    assert [y for _, y in found] == [[1, 2], [3, 4], [5], [6, 7]]
    centres = [float(np.mean(np.round(x))) for x, _ in found]
    assert centres == sorted(centres)
    # the middle of a group carries its name
    assert axes.get_xticks()[1] == pytest.approx(2.2)  # boxes at 1.7 and 2.7


def test_curves_show_the_mean_and_every_case_as_far_as_it_goes(drawn):
    plot.curves("unused.png", {"loss": [[4, 2, 1], [2, None], [3]], "dsc": [[0.5]]})
    loss, dsc = drawn[0].axes
    mean, *cases = loss.lines
    assert mean.get_xdata().tolist() == [0, 1, 2]
    assert mean.get_ydata().tolist() == [3, 2, 1]
    assert cases[0].get_ydata().tolist() == [4, 2, 1] and len(cases) == 3
    assert cases[0].get_linewidth() < mean.get_linewidth()
    assert (loss.get_ylabel(), loss.get_title()) == ("loss", "3 cases")
    assert dsc.get_title() == "1 case" and len(dsc.lines) == 1


def test_of_many_cases_the_range_is_drawn(drawn):
    plot.curves("unused.png", {"loss": [[i, 2.0 * i] for i in range(41)]})
    (axes,) = drawn[0].axes
    assert len(axes.lines) == 1
    box = axes.collections[0].get_paths()[0].get_extents()
    assert (box.y0, box.y1) == (0, 80)


def test_methods_differ_in_colour_style_and_mark(drawn):
    histories = {"Dice": {"one": [[0.5, 0.7], [0.7, 0.9]], "two": [[0.2]]}}
    plot.step_curves("unused.png", histories)
    (axes,) = drawn[0].axes
    means = [line for line in axes.lines if line.get_linewidth() == 2]
    np.testing.assert_allclose(means[0].get_ydata(), [0.6, 0.8])
    looks = [(m.get_color(), m.get_linestyle(), m.get_marker()) for m in means]
    assert all(a != b for a, b in zip(*looks, strict=True))
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["one, mean", "two, mean"]


def test_colours_are_those_of_okabe_and_ito_and_three_of_other_lightness():
    assert set(plot.COLOURS[:7]) == {
        "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000",
    }  # fmt: skip
    assert len(set(plot.COLOURS)) == 10


def test_a_series_keeps_the_colour_that_it_is_given(drawn):
    plot.box_plot("unused.png", {"b": [1.0, 2.0]}, "Dice", colours={"b": "#882255"})
    points = [line for line in drawn[0].axes[0].lines if line.get_marker() == "o"]
    assert [line.get_color() for line in points] == ["#882255"]


def test_plots_of_nothing_are_refused():
    with pytest.raises(ValueError, match=r"one series with values, got \['a'\]"):
        plot.box_plot("unused.png", {"a": [None]}, "Dice")
    with pytest.raises(ValueError, match="grouped_box_plot.* one series with values"):
        plot.grouped_box_plot("unused.png", {"before": {"a": [None]}}, "Dice")
    with pytest.raises(ValueError, match=r"one history with values, got \[\]"):
        plot.curves("unused.png", {})
