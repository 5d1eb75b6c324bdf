"""Laws, values and errors of deepreg_meta.evaluate.figure."""

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.image import imread

from deepreg_meta.evaluate import figure, panel

SHAPE = (9, 11, 13)


def volumes(shape=SHAPE):
    rng = np.random.default_rng(0)
    label = np.zeros(shape)
    label[2:6, 3:9] = 1
    return {
        "fixed_image": rng.uniform(size=shape),
        "moving_image_aligned": rng.uniform(size=shape),
        "warped_image": rng.uniform(size=shape),
        "fixed_label": label,
        "moving_label_aligned": np.roll(label, 2, axis=1),
        "warped_label": np.roll(label, 1, axis=1),
        "ddf": rng.normal(size=(*shape, 3)),
        "spacing_mm": (1.0, 2.0, 0.5),
    }


@pytest.fixture
def page(monkeypatch):
    """The figure that is drawn, held back from its file."""
    drawn = []
    monkeypatch.setattr(
        figure, "save_figure", lambda fig, path: drawn.append(fig) or path
    )

    def draw(**given) -> Figure:
        figure.case_figure("unused.png", **given)
        return drawn[-1]

    return draw


def test_a_case_becomes_one_image_file_and_the_same_one_each_time(tmp_path):
    for name in ("a.png", "b.png"):
        figure.case_figure(tmp_path / "new" / name, **volumes(), title="case 1")
    assert sorted(f.name for f in (tmp_path / "new").iterdir()) == ["a.png", "b.png"]
    first, second = (imread(tmp_path / "new" / name) for name in ("a.png", "b.png"))
    assert first.std() > 0.1
    np.testing.assert_array_equal(first, second)


def test_three_planes_through_the_gland_have_six_panels_each_and_a_colour_bar(page):
    axes = page(**volumes()).axes
    assert len(axes) == 3 * 6 + 1
    rows = {a.get_ylabel().split("\n")[0] for a in axes[:18] if a.get_ylabel()}
    # centroid (3.5, 5.5, 6): halves are rounded to the even neighbour
    assert rows == {"axis 2 = 6", "axis 1 = 6", "axis 0 = 4"}


def test_pixels_are_as_high_and_wide_as_the_spacing_says(page):
    axes = page(**volumes()).axes
    left, right, bottom, top = axes[0].images[0].get_extent()  # rows 0, columns 1
    assert (bottom - top, right - left) == (9 * 1.0, 11 * 2.0)
    left, right, bottom, top = axes[6].images[0].get_extent()  # rows 0, columns 2
    assert (bottom - top, right - left) == (9 * 1.0, 13 * 0.5)
    left, right, bottom, top = axes[12].images[0].get_extent()  # rows 2, columns 1
    assert (bottom - top, right - left) == (13 * 0.5, 11 * 2.0)
    assert all(a.get_aspect() == 1.0 for a in axes[:18])


def test_each_panel_shows_its_own_plane_the_right_way_round(page):
    given = volumes()
    index = np.meshgrid(*map(np.arange, SHAPE), indexing="ij")
    given["fixed_image"] = index[0] * 10000.0 + index[1] * 100 + index[2]
    given["fixed_label"][:] = 1  # so the window sees all, the centre is (4, 5, 6)
    low, high = panel.window(given["fixed_image"], np.ones(SHAPE, bool))
    axes = page(**given).axes
    for number, plane in (
        (0, given["fixed_image"][:, :, 6]),
        (6, given["fixed_image"][:, 5]),
        (12, given["fixed_image"][4].T),
    ):
        shown = np.asarray(axes[number].images[0].get_array())
        expected = np.clip((plane - low) / (high - low), 0, 1)
        np.testing.assert_allclose(shown, expected, atol=1e-5)


def test_the_colours_show_the_length_of_the_displacement_in_mm(page):
    given = volumes()
    given["ddf"] = np.broadcast_to([2.0, 3.0, 6.0], (*SHAPE, 3))
    drawn = page(**given)
    colours = np.asarray(drawn.axes[5].images[0].get_array())
    np.testing.assert_allclose(colours, 7.0)  # (2, 6, 3) mm
    assert drawn.axes[-1].get_ylabel() == "displacement (mm)"
    assert "voxels" in page(**given, unit="voxels").axes[-1].get_ylabel()


def test_the_grid_shows_where_the_voxels_are_taken_from(page):
    given = volumes()
    given["ddf"] = np.broadcast_to([2.0, 3.0, 6.0], (*SHAPE, 3))
    (lines,) = (
        c for c in page(**given).axes[5].collections if isinstance(c, LineCollection)
    )
    # x is axis 1: 3 voxels of 2 mm; y is axis 0: 2 voxels of 1 mm
    np.testing.assert_allclose(lines.get_segments()[0][0], [6.0, 2.0])


def test_the_checkerboard_alternates_between_fixed_and_warped(page):
    given = volumes((12, 12, 1))
    low, high = np.zeros((12, 12, 1)), np.ones((12, 12, 1))
    low[:, 11], high[:, 11] = 1, 0  # so that the images have a window
    given |= {"fixed_image": low, "warped_image": high, "spacing_mm": (1, 1, 1)}
    given |= {"moving_image_aligned": high, "fixed_label": None}
    board = np.asarray(page(**given).axes[4].images[0].get_array())
    # tiles of two voxels; the first is fixed
    np.testing.assert_array_equal(board[2:8, 2], [0, 0, 1, 1, 0, 0])
    np.testing.assert_array_equal(board[2, 2:8], [0, 0, 1, 1, 0, 0])


@pytest.mark.parametrize("flat", [0, 1, 2])
def test_a_flat_image_has_one_row(page, flat):
    given = volumes()
    for name in given.keys() - {"spacing_mm"}:
        given[name] = np.take(given[name], [4], axis=flat)
    drawn = page(**given)
    assert len(drawn.axes) == 6 + 1
    assert drawn.axes[0].get_ylabel().startswith(f"axis {flat} = 0")


def test_sampled_frames_are_marked_where_they_cut_the_plane(page):
    drawn = page(**volumes(), frames=np.array([2, 5]), frame_axis=1)
    marks = [line.get_xdata()[0] for line in drawn.axes[0].lines]
    assert marks == [4.0, 10.0]  # 2 mm voxels along axis 1
    assert not drawn.axes[6].lines  # this plane is one across axis 1
    assert any("frames" in t.get_text() for t in drawn.legends[0].get_texts())


def test_contours_are_drawn_only_for_labels_that_the_plane_shows(page):
    given = volumes()
    counted = [len(page(**given).axes[3].collections)]
    given["warped_label"] = np.zeros(SHAPE)
    counted.append(len(page(**given).axes[3].collections))
    given["moving_label_aligned"] = None
    drawn = page(**given)
    counted.append(len(drawn.axes[3].collections))
    assert counted == [3, 2, 1]
    assert len(drawn.legends[0].get_texts()) == 2


@pytest.mark.filterwarnings("error")
def test_a_case_without_labels_contrast_or_displacement_can_be_drawn(tmp_path):
    given = volumes() | dict.fromkeys(
        ("fixed_label", "moving_label_aligned", "warped_label")
    )
    given["warped_image"] = np.full(SHAPE, 3.0)
    given["ddf"] = np.zeros((*SHAPE, 3))
    assert figure.case_figure(tmp_path / "a.png", **given).is_file()
    given["ddf"] = np.full((*SHAPE, 3), np.nan)  # a network that diverged
    given["warped_image"] = np.full(SHAPE, np.nan)
    assert figure.case_figure(tmp_path / "b.png", **given).is_file()


def test_volumes_of_another_grid_and_frames_without_axis_are_refused():
    with pytest.raises(ValueError, match=r"warped_image on .*got \(9, 11, 12\)"):
        figure.case_figure(
            "a.png", **(volumes() | {"warped_image": np.zeros((9, 11, 12))})
        )
    with pytest.raises(ValueError, match=r"expected ddf \(9, 11, 13, 3\)"):
        figure.case_figure("a.png", **(volumes() | {"ddf": np.zeros(SHAPE)}))
    with pytest.raises(ValueError, match="frame_axis 0, 1 or 2 .*got None"):
        figure.case_figure("a.png", **volumes(), frames=[1])


def test_a_failing_write_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk")

    monkeypatch.setattr(figure.os, "replace", fail)
    with pytest.raises(OSError, match="disk"):
        figure.save_figure(Figure(), tmp_path / "a.png")
    assert not list(tmp_path.iterdir())
