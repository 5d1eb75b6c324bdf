"""Laws, values and errors of deepreg_meta.evaluate.picture."""

from io import BytesIO

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from deepreg_meta.evaluate import picture


def drawing():
    figure = Figure(figsize=(1, 0.5), facecolor="white")
    figure.add_axes((0, 0, 0.5, 1)).imshow([[0, 1]], aspect="auto", cmap="gray")
    return figure


def test_a_figure_has_its_size_in_pixels_and_its_colours(tmp_path):
    path = picture.save_figure(drawing(), tmp_path / "new" / "a.png", dpi=40)
    pixels = np.asarray(Image.open(path))
    assert pixels.shape == (20, 40, 3)
    assert (pixels[10, 35] == 255).all() and (pixels[10, 5] == 0).all()


def test_every_pixel_takes_the_nearest_colour_of_a_palette(tmp_path):
    figure = Figure(figsize=(1, 1), facecolor=(0.9, 0.1, 0.1))
    palette = np.array([[255, 0, 0], [0, 0, 0], [0, 255, 0]], np.uint8)
    path = picture.save_figure(figure, tmp_path / "a.png", 20, palette)
    image = Image.open(path)
    assert image.mode == "P"
    pixels = np.asarray(image.convert("RGB"))
    assert (pixels == [255, 0, 0]).all()


def test_an_svg_is_the_same_each_time_and_names_nothing_outside(tmp_path):
    texts = [
        picture.save_figure(drawing(), tmp_path / f"{name}.svg").read_text()
        for name in "ab"
    ]
    assert texts[0] == texts[1] and texts[0].startswith("<?xml")
    assert 'href="http' not in texts[0]


def test_another_ending_is_refused_and_a_failing_write_leaves_nothing(
    tmp_path, monkeypatch
):
    with pytest.raises(ValueError, match=r"a\.jpg: expected a figure as .png or .svg"):
        picture.save_figure(drawing(), tmp_path / "a.jpg")

    def fail(*_):
        raise OSError("disk")

    monkeypatch.setattr(picture.os, "replace", fail)
    for name in ("a.png", "a.svg"):
        with pytest.raises(OSError, match="disk"):
            picture.save_figure(drawing(), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_small_picture_is_loaded_without_loss(tmp_path, rng):
    pixels = rng.integers(0, 255, (9, 11, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    data, mime = picture.load_picture(tmp_path / "a.png")
    image = Image.open(BytesIO(data))
    assert Image.MIME[image.format] == mime
    np.testing.assert_array_equal(np.asarray(image.convert("RGB")), pixels)


def test_a_large_picture_loses_weight_but_not_what_it_shows(tmp_path, rng):
    ramp = np.linspace(0, 200, 600)[:, None, None]
    pixels = (ramp + rng.uniform(0, 40, (600, 500, 3))).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()
    data, mime = picture.load_picture(tmp_path / "a.png")
    assert mime == "image/webp" and len(data) < len(before) / 3
    found = np.asarray(Image.open(BytesIO(data)).convert("RGB")).astype(float)
    assert np.abs(found.mean(axis=1) - pixels.mean(axis=1)).mean() < 3
    assert (tmp_path / "a.png").read_bytes() == before


@pytest.mark.parametrize("length", [0, 40])
def test_a_file_that_is_no_whole_picture_is_named(tmp_path, length):
    Image.fromarray(np.full((50, 50), 9, np.uint8)).save(tmp_path / "a.png")
    path = tmp_path / "figure.png"
    path.write_bytes((tmp_path / "a.png").read_bytes()[:length])
    with pytest.raises(ValueError, match=r"figure\.png: expected a picture.*Delete it"):
        picture.load_picture(path)
