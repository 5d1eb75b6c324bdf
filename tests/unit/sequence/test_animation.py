"""Tests of deepreg_meta/sequence/animation.py."""

import numpy as np
import pytest
from PIL import Image

from deepreg_meta.sequence.animation import Film, round_up
from deepreg_meta.sequence.track import track
from tests.unit.sequence.examples import (
    SHIFT,
    SPACING,
    STEP_S,
    Known,
    shift_field,
    shifting,
)


def film_of(sequence, direction="backward", shift=SHIFT, **options):
    film = Film(sequence, **options)
    for pair in track(sequence, Known(shift_field(sequence, shift)), direction):
        film.add(pair)
    return film


def pictures_of(path):
    """:return: the frames of a GIF, (T, rows, columns, 3)."""
    with Image.open(path) as image:
        frames = []
        for index in range(image.n_frames):
            image.seek(index)
            frames.append(np.asarray(image.convert("RGB"), int))
    return np.stack(frames)


@pytest.mark.parametrize("style", ["arrows", "speed"])
def test_the_film_has_every_frame_once(tmp_path, style):
    """Also those without motion, and frames that look alike."""
    sequence = shifting(num_frames=5, shift=np.zeros(3, int))
    film = film_of(sequence, shift=np.zeros(3), style=style, frame_ms=90)
    film.save(tmp_path / "motion.gif")
    with Image.open(tmp_path / "motion.gif") as image:
        assert image.n_frames == 5
        assert image.info["duration"] == 90 and image.info["loop"] == 0


def test_the_same_film_is_the_same_file(tmp_path):
    files = [
        film_of(shifting()).save(tmp_path / f"{name}.gif").read_bytes()
        for name in ("a", "b")
    ]
    assert files[0] == files[1]
    other = film_of(shifting(), shift=-SHIFT).save(tmp_path / "c.gif").read_bytes()
    assert other != files[0]


@pytest.mark.parametrize(("direction", "alone"), [("backward", 0), ("forward", 3)])
def test_motion_is_shown_on_the_frames_that_fields_lie_on(tmp_path, direction, alone):
    """The first one has none where the current frame is fixed, forward the last."""
    film_of(shifting(), direction).save(tmp_path / "m.gif")
    frames = pictures_of(tmp_path / "m.gif")[:, 40:500, 20:350]
    arrows = [(np.ptp(frame, axis=-1) > 40).mean() for frame in frames]
    assert arrows[alone] == 0
    assert min(share for i, share in enumerate(arrows) if i != alone) > 0.02


def test_the_scale_is_that_of_the_speeds_in_the_region():
    """25 mm/s to the left and 20 down are 32 mm/s: the next round number is 40."""
    speed = np.linalg.norm(SHIFT * SPACING) / STEP_S
    assert 30 < speed < 40
    film = film_of(shifting())
    shown = film.shot(2).speed(film._slice)
    np.testing.assert_allclose(shown, speed, rtol=1e-6)
    assert film._limit() == 40
    region = np.zeros((1, 20, 17, 1), bool)
    region[0, 3, 4] = True
    masked = film_of(shifting(), region=region)
    assert np.isfinite(masked.shot(1).speed(masked._slice)).sum() == 1


def test_limits_are_round_numbers():
    assert [round_up(x) for x in (1.0, 1.01, 32.3, 0.0207, 9.9)] == pytest.approx(
        [1, 1.5, 40, 0.025, 10]
    )


def test_captions_tell_frame_and_time():
    film = film_of(shifting())
    assert film.shot(2).caption == "frame 2 / 3   0.080 s"
    assert film.shot(0).caption == "frame 0 / 3   0.000 s   (no motion known)"
    slow = film_of(shifting(time_step_s=None))
    assert slow.shot(2).caption == "frame 2 / 3"


def test_of_volumes_a_plane_is_shown():
    """The one through the middle of the region, or the one that is chosen."""
    shape, shift = (12, 11, 10), np.array([1, 2, 0])
    sequence = shifting(3, shape, shift)
    region = np.zeros((1, *shape), bool)
    region[0, 4:8, 3:7, 6:9] = True
    film = film_of(sequence, shift=shift, region=region)
    own = film.shot(1)
    scaled = sequence.scaled(1)
    # LPS: axial, rows along axis 1, columns along axis 0
    np.testing.assert_array_equal(own.image, scaled[:, :, 7].T)
    np.testing.assert_array_equal(own.inside, region[0, :, :, 7].T)
    chosen = film_of(sequence, shift=shift, plane=(0, 5))
    assert chosen.shot(1).image.shape in ((11, 10), (10, 11))
    np.testing.assert_allclose(
        np.sort(chosen.shot(1).image.ravel()), np.sort(scaled[5].ravel())
    )


def test_labels_belong_to_their_frames():
    film = film_of(shifting())
    label = np.zeros((20, 17, 1), np.uint8)
    label[3:9, 4:9] = 1
    film.add_label(2, label)
    np.testing.assert_array_equal(film.shot(2).label, label[:, :, 0].T)
    assert film.shot(1).label is None


def test_what_cannot_be_shown_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--animation-style: expected one of arrows"):
        Film(shifting(), style="dots")
    with pytest.raises(ValueError, match=r"--plane: expected .*got 2 1"):
        Film(shifting(), plane=(2, 1))
    with pytest.raises(ValueError, match="expected a registered pair to show"):
        Film(shifting()).save(tmp_path / "m.gif")
