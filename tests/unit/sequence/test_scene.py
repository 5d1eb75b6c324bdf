"""Tests of deepreg_meta/sequence/scene.py: what a picture shows."""

import numpy as np
import pytest
from matplotlib import colormaps

from deepreg_meta.evaluate.plane import PICTURE, Slice
from deepreg_meta.sequence.scene import COLOURS, LABEL_COLOURS, Scene, Shot, palette

SHAPE = (30, 24, 1)  # columns, rows: as wide as high in mm
PLANE = Slice(2, 0, SHAPE, (0.8, 1.0, 1.0), PICTURE)
LEFT, TOP, SIDE = 10, 34, 480  # of the image in the picture, pixels


def shot(motion=(0.0, 0.0), inside=None, grey=0.5, label=None):
    """:return: a grey image with one motion everywhere, in voxels of 0.8 and 1 mm."""
    rows, columns = 24, 30
    field = np.zeros((rows, columns, 3))
    field[..., :2] = motion
    mask = np.ones((rows, columns), bool) if inside is None else inside
    return Shot(np.full((rows, columns), grey), "frame 1 / 2", field, mask, label)


def draw(shown, style="arrows", limit=4.0):
    """:return: the part of the picture where the image is, (480, 480, 3)."""
    picture = Scene(PLANE, limit, "mm/s", style).draw(shown).convert("RGB")
    return np.asarray(picture, int)[TOP : TOP + SIDE, LEFT : LEFT + SIDE]


def coloured(pixels):
    """:return: where pixels are no greys."""
    return np.ptp(pixels, axis=-1) > 40


def test_the_image_is_shown_as_it_is():
    """Grey to the next of the palette's greys."""
    pixels = draw(Shot(np.full((24, 30), 0.5), "still"))
    assert not coloured(pixels).any()
    assert np.abs(pixels[50:-50, 50:-50] - 127.5).max() <= 2


def test_arrows_point_where_the_tissue_goes():
    """
    One arrow alone, to the right and down in a picture: its head, the widest part, is
    at that end.
    """
    for motion, axis, sign in (
        ((5, 0), 1, 1), ((-5, 0), 1, -1), ((0, 4), 0, 1), ((0, -4), 0, -1)
    ):  # fmt: skip
        inside = np.zeros((24, 30), bool)
        inside[12, 15] = True
        found = coloured(draw(shot(motion, inside)))
        along = found.any(axis=1 - axis)
        ends = np.flatnonzero(along)
        width = found.sum(axis=1 - axis)
        middle = (ends[0] + ends[-1]) / 2
        head = np.average(np.arange(len(width)), weights=width**2)
        assert np.sign(head - middle) == sign
        assert found.any(axis=axis).sum() < len(ends)


def test_arrows_are_as_long_as_the_motion_is_fast():
    """Twice as long, and of the colour that the scale gives it."""
    lengths, colours = [], []
    for speed in (2.0, 4.0):
        inside = np.zeros((24, 30), bool)
        inside[12, 15] = True
        pixels = draw(shot((speed / 0.8, 0), inside))
        found = coloured(pixels)
        lengths.append(np.ptp(np.flatnonzero(found.any(axis=0))))
        values, counts = np.unique(pixels[found], axis=0, return_counts=True)
        colours.append(values[counts.argmax()])
    assert lengths[1] / lengths[0] == pytest.approx(2, rel=0.1)
    for colour, share in zip(colours, (0.5, 1.0), strict=True):
        expected = 255 * np.array(colormaps[COLOURS](share)[:3])
        assert np.abs(colour - expected).max() < 16


def test_motion_is_shown_in_the_region_alone():
    inside = np.zeros((24, 30), bool)
    inside[:, :15] = True
    for style in ("arrows", "speed"):
        found = coloured(draw(shot((0, 2), inside), style))
        assert found[:, :230].mean() > 0.03
        assert not found[:, 270:].any()


def test_speeds_are_colours_over_the_image():
    """A mixture of both: brighter where the image is."""
    dark, bright = (draw(shot((2, 0), grey=g), "speed") for g in (0.0, 1.0))
    middle = (slice(100, 300), slice(100, 300))
    assert coloured(dark)[middle].all()
    lighter = (bright[middle] - dark[middle]).mean()
    assert lighter == pytest.approx(0.4 * 255, abs=25)


def test_outlines_of_labels_have_their_colours():
    label = np.zeros((24, 30), int)
    label[5:20, 5:25] = 1
    label[10:15, 10:20] = 2
    picture = Scene(PLANE, 1.0, "mm", "arrows").draw(
        Shot(np.zeros((24, 30)), "frame", label=label)
    )
    pixels = np.asarray(picture.convert("RGB"), int).reshape(-1, 3)
    for colour in LABEL_COLOURS[:2]:
        wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert (np.abs(pixels - wanted).max(axis=1) <= 1).sum() > 100


@pytest.mark.parametrize("style", ["arrows", "speed"])
def test_the_palette_has_room(style):
    """At most 256 colours, greys from black to white, and the whole scale."""
    colours = np.reshape(palette(style).getpalette(), (-1, 3))
    assert len(colours) <= 256
    greys = colours[np.ptp(colours, axis=1) == 0]
    assert greys.min() == 0 and greys.max() == 255
    for share in np.linspace(0, 1, 9):
        wanted = 255 * np.array(colormaps[COLOURS](share)[:3])
        assert np.abs(colours - wanted).max(axis=1).min() < 12


@pytest.mark.parametrize("style", ["arrows", "speed"])
def test_letters_tell_the_sides_of_the_patient_where_they_are_known(style):
    """White letters in the middle of each side of a grey image, none in the corners."""
    image = Shot(np.full((24, 30), 0.25), "axial")
    found = {}
    for orientation in ("LPS", None):
        plane = Slice(2, 0, SHAPE, (0.8, 1.0, 1.0), orientation)
        picture = np.asarray(Scene(plane, 1.0, "mm/s", style).draw(image).convert("L"))
        own = picture[TOP : TOP + SIDE, LEFT : LEFT + SIDE]
        found[orientation] = own > 200
    middle, edge = slice(225, 255), 25
    white = found["LPS"]
    sides = white[:edge, middle], white[-edge:, middle], white[middle, :edge]
    for side in (*sides, white[middle, -edge:]):
        assert side.sum() > 15
    assert white.sum() == sum(s.sum() for s in (*sides, white[middle, -edge:]))
    assert not found[None].any()
