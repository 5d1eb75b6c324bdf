"""Laws, values and errors of deepreg_meta.evaluate.figure and its page."""

import time

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from PIL import Image

from deepreg_meta.evaluate import figure, panel
from deepreg_meta.evaluate.metric import jacobian_determinant

SHAPE = (9, 11, 13)
COLUMNS = 8
DISPLACEMENT, GRID, JACOBIAN = 5, 6, 7


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
        figure, "save_figure", lambda fig, path, **_: drawn.append(fig) or path
    )

    def draw(**given) -> Figure:
        figure.case_figure("unused.png", **given)
        return drawn[-1]

    return draw


def shown(axes):
    """The picture as a reader sees it: row 0 at the top, column 0 at the left."""
    (image,) = axes.images
    pixels = np.asarray(image.get_array())
    left, right = axes.get_xlim()
    bottom, top = axes.get_ylim()
    pixels = pixels if left < right else pixels[:, ::-1]
    return pixels if bottom > top else pixels[::-1]


def test_a_case_becomes_one_small_picture_and_the_same_one_each_time(tmp_path):
    for name in ("a.png", "b.png"):
        figure.case_figure(tmp_path / "new" / name, **volumes(), title="case 1")
    assert sorted(f.name for f in (tmp_path / "new").iterdir()) == ["a.png", "b.png"]
    first, second = (
        np.asarray(Image.open(tmp_path / "new" / name).convert("RGB"))
        for name in ("a.png", "b.png")
    )
    assert first.std() > 20 and (first[0, 0] == 255).all()  # on white paper
    np.testing.assert_array_equal(first, second)
    assert (tmp_path / "new" / "a.png").stat().st_size < 350_000


def test_three_planes_through_the_gland_have_eight_panels_each_and_two_bars(page):
    axes = page(**volumes()).axes
    assert len(axes) == 3 * COLUMNS + 2
    rows = [a.get_ylabel().split("\n")[0] for a in axes[: 3 * COLUMNS : COLUMNS]]
    # centroid (3.5, 5.5, 6): halves are rounded to the even neighbour
    assert rows == ["axis 2 = 6", "axis 1 = 6", "axis 0 = 4"]


def test_pixels_are_as_high_and_wide_as_the_spacing_says(page):
    drawn = page(**volumes())
    axes = drawn.axes
    sizes = []
    for first in axes[: 3 * COLUMNS : COLUMNS]:
        left, right, bottom, top = first.images[0].get_extent()
        sizes.append((bottom - top, right - left))
    # rows 0 and columns 1; rows 0 and columns 2; rows 2 and columns 1
    assert sizes == [(9.0, 22.0), (9.0, 6.5), (6.5, 22.0)]
    assert all(a.get_aspect() == 1.0 for a in axes[: 3 * COLUMNS])


def test_each_panel_shows_its_own_plane_the_right_way_round(page):
    given = volumes()
    index = np.meshgrid(*map(np.arange, SHAPE), indexing="ij")
    given["fixed_image"] = index[0] * 10000.0 + index[1] * 100 + index[2]
    given["fixed_label"][:] = 1  # so the window sees all, the centre is (4, 5, 6)
    low, high = panel.window(given["fixed_image"], None)
    axes = page(**given).axes
    for number, plane in (
        (0, given["fixed_image"][:, :, 6]),
        (COLUMNS, given["fixed_image"][:, 5]),
        (2 * COLUMNS, given["fixed_image"][4].T),
    ):
        expected = np.clip((plane - low) / (high - low), 0, 1)
        np.testing.assert_allclose(shown(axes[number]), expected, atol=1e-5)


@pytest.mark.parametrize(("alone", "index"), [(False, 5), (True, 7)])
def test_where_frames_alone_are_known_the_plane_is_the_nearest_of_them(
    page, alone, index
):
    given = volumes()
    given["fixed_label"][:] = 1  # the centre is (4, 5, 6)
    drawn = page(**given, frames=[1, 7, 9], frame_axis=1, frames_alone=alone)
    name = drawn.axes[COLUMNS].get_ylabel().split("\n")[0]
    assert name == f"axis 1 = {index}"


def test_with_an_orientation_the_page_is_what_a_radiologist_expects(page):
    """Bright marks at the patient's right, anterior and superior end."""
    given = volumes((9, 9, 9)) | {"spacing_mm": (1, 1, 1), "fixed_label": None}
    image = np.zeros((9, 9, 9))
    # of a grid whose axes point to posterior, superior and right
    image[4, 4, 8] = 0.3  # right
    image[0, 4, 4] = 0.6  # anterior
    image[4, 8, 4] = 0.9  # superior
    given["fixed_image"] = image
    axes = page(**given, orientation="PSR").axes
    axial, coronal, sagittal = (axes[row * COLUMNS] for row in range(3))
    names = [a.get_ylabel().split("\n")[0] for a in (axial, coronal, sagittal)]
    assert names == ["axial 4", "coronal 4", "sagittal 4"]
    # the middles of the left and of the upper side; black is 0 and white is 1
    for panel_axes, left, top in (
        (axial, 0.3, 0.6),
        (coronal, 0.3, 0.9),
        (sagittal, 0.6, 0.9),
    ):
        marks = shown(panel_axes)
        np.testing.assert_allclose([marks[4, 0], marks[0, 4]], [left, top], rtol=1e-6)
        assert np.count_nonzero(marks) == 2
    assert [text.get_text() for text in axial.texts] == ["R", "L", "A", "P"]
    assert [text.get_text() for text in sagittal.texts] == ["A", "P", "S", "I"]


def test_without_an_orientation_no_side_of_the_patient_is_named(page):
    axes = page(**volumes()).axes
    assert not any(a.texts for a in axes)


def test_the_colours_show_the_length_of_the_displacement_in_mm(page):
    given = volumes()
    given["ddf"] = np.broadcast_to([2.0, 3.0, 6.0], (*SHAPE, 3))
    drawn = page(**given)
    np.testing.assert_allclose(shown(drawn.axes[DISPLACEMENT]), 7.0)  # (2, 6, 3) mm
    assert drawn.axes[-2].get_xlabel() == "displacement (mm)"
    assert "voxels" in page(**given, unit="voxels").axes[-2].get_xlabel()


def test_the_grid_shows_where_the_voxels_are_taken_from_over_a_pale_image(page):
    given = volumes()
    given["ddf"] = np.broadcast_to([2.0, 3.0, 6.0], (*SHAPE, 3))
    axes = page(**given).axes[GRID]
    (lines,) = (c for c in axes.collections if isinstance(c, LineCollection))
    # x is axis 1: 3 voxels of 2 mm; y is axis 0: 2 voxels of 1 mm
    np.testing.assert_allclose(lines.get_segments()[0][0], [6.0, 2.0])
    assert shown(axes).min() > 0.5


def test_the_jacobian_map_is_that_of_the_whole_field(page):
    given = volumes()
    given["ddf"] *= 0.1
    expected = jacobian_determinant(given["ddf"])
    axes = page(**given).axes
    for row, plane in enumerate((expected[:, :, 6], expected[:, 6], expected[4].T)):
        np.testing.assert_allclose(shown(axes[row * COLUMNS + JACOBIAN]), plane)


def test_the_jacobian_bar_has_1_in_its_middle_and_says_what_it_is(page):
    bar = page(**volumes()).axes[-1]
    low, high = bar.get_xlim()
    assert low * high == pytest.approx(1) and bar.get_xscale() == "log"
    assert bar.get_xlabel() == "determinant (1: volume kept)"


def test_the_checkerboard_alternates_between_fixed_and_warped(page):
    given = volumes((12, 12, 1))
    low, high = np.zeros((12, 12, 1)), np.ones((12, 12, 1))
    low[:, 11], high[:, 11] = 1, 0  # so that the images have a window
    given |= {"fixed_image": low, "warped_image": high, "spacing_mm": (1, 1, 1)}
    given |= {"moving_image_aligned": high, "fixed_label": None}
    board = shown(page(**given).axes[4])
    # tiles of two voxels; the first is fixed
    np.testing.assert_array_equal(board[2:8, 2], [0, 0, 1, 1, 0, 0])
    np.testing.assert_array_equal(board[2, 2:8], [0, 0, 1, 1, 0, 0])


@pytest.mark.parametrize("flat", [0, 1, 2])
@pytest.mark.parametrize("orientation", [None, "RAS"])
def test_a_flat_image_has_one_row(page, flat, orientation):
    given = volumes()
    for name in given.keys() - {"spacing_mm"}:
        given[name] = np.take(given[name], [4], axis=flat)
    drawn = page(**given, orientation=orientation)
    assert len(drawn.axes) == COLUMNS + 2
    name = ("sagittal 0", "coronal 0", "axial 0")[flat] if orientation else ""
    assert drawn.axes[0].get_ylabel().startswith(name or f"axis {flat} = 0")


def test_sampled_frames_are_marked_where_they_cut_the_plane(page):
    drawn = page(**volumes(), frames=np.array([2, 5]), frame_axis=1)
    marks = [line.get_xdata()[0] for line in drawn.axes[0].lines]
    assert marks == [4.0, 10.0]  # 2 mm voxels along axis 1
    assert not drawn.axes[COLUMNS].lines  # this plane is one across axis 1
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
    texts = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert texts[:2] == ["fixed label", "moving label warped"]
    assert "determinant ≤ 0" in texts[2]


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


def test_a_large_volume_is_drawn_from_its_planes_alone(page):
    """Its determinants alone, in all voxels, would take more than a minute."""
    shape = (512, 512, 60)
    image = np.broadcast_to(np.arange(60, dtype=np.float32), shape)
    label = np.broadcast_to(np.arange(60) > 30, shape)
    field = np.broadcast_to(np.float32([1, 0, 0]), (*shape, 3))
    start = time.perf_counter()
    page(
        fixed_image=image,
        moving_image_aligned=image,
        warped_image=image,
        ddf=field,
        spacing_mm=(0.7, 0.7, 2.5),
        fixed_label=label,
        orientation="LPS",
    )
    assert time.perf_counter() - start < 30  # seconds; 1.5 on an idle machine


def test_volumes_of_another_grid_and_frames_without_axis_are_refused():
    with pytest.raises(ValueError, match=r"warped_image on .*got \(9, 11, 12\)"):
        figure.case_figure(
            "a.png", **(volumes() | {"warped_image": np.zeros((9, 11, 12))})
        )
    with pytest.raises(ValueError, match=r"expected ddf \(9, 11, 13, 3\)"):
        figure.case_figure("a.png", **(volumes() | {"ddf": np.zeros(SHAPE)}))
    with pytest.raises(ValueError, match="frame_axis 0, 1 or 2 .*got None"):
        figure.case_figure("a.png", **volumes(), frames=[1])
    with pytest.raises(ValueError, match="such as RAS or LPI.*got 'RSX'"):
        figure.case_figure("a.png", **volumes(), orientation="RSX")


def test_the_palette_holds_the_colours_that_matter_exactly():
    found = {tuple(colour) for colour in figure.palette().tolist()}
    assert len(found) <= 256
    assert {(0, 0, 0), (255, 255, 255), (0, 158, 115), (213, 94, 0)} <= found
