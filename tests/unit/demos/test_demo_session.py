"""Tests of the demo that plays sweeps; that sessions are right is tested elsewhere."""

from types import SimpleNamespace

import numpy as np
import pytest

GLAND = np.zeros((6, 5, 20))
GLAND[2:4, 1:3, 4:14] = 1  # ten slices


@pytest.fixture
def demo(load_demo):
    return load_demo("meta_trus", "demo_session")


def test_frames_lie_in_the_middle_of_their_shares(demo):
    assert demo.sweep_positions(GLAND, 2, 1) == [9]
    assert demo.sweep_positions(GLAND, 2, 2) == [6, 11]
    assert demo.sweep_positions(GLAND, 2, 10) == list(range(4, 14))
    assert demo.sweep_positions(GLAND, 0, 2) == [2, 3]


@pytest.mark.parametrize("number", [0, 6])
def test_more_frames_than_slices_are_refused(demo, number):
    with pytest.raises(ValueError, match="--frames: expected 1 to 5, the slices"):
        demo.sweep_positions(GLAND, 1, number)


class FakeSession:
    """Takes frames along axis 2, and leaves the gland one voxel off."""

    frame_axis = 2

    def __init__(self):
        self.frames = {}

    def add_frame(self, image, position, label):
        self.frames[position] = image, label

    def register(self, steps):
        warped = np.roll(GLAND, 1, axis=0)[None]
        return SimpleNamespace(
            positions=tuple(self.frames), warped_labels=warped,
            frame_dsc={"gland": 0.5}, seconds=0.25 * steps,
        )  # fmt: skip


def test_a_sweep_shows_the_frames_and_is_scored_by_the_whole_gland(demo):
    image = np.random.default_rng(0).random(GLAND.shape)
    sides = [SimpleNamespace(path=n, label_paths=[n], read=lambda: (image, GLAND[None]))
             for n in ("fixed", "moving")]  # fmt: skip
    case = SimpleNamespace(name="one", fixed_source=sides[0], moving_source=sides[1])
    session, opened = FakeSession(), []

    def open_session(*args, **options):
        opened.append((args, options))
        return session

    registrar = SimpleNamespace(session=open_session)
    rows = [row for row, _ in demo.play(case, registrar, 2)]
    limits = opened[0][1]["intensity_range"]
    assert limits == (image.min(), image.max()) and opened[0][0][0] == "fixed"
    assert list(session.frames) == [6, 11]
    for position, (frame, contour) in session.frames.items():
        np.testing.assert_array_equal(frame, image[..., position])
        np.testing.assert_array_equal(contour, GLAND[..., position])
    # two voxels wide, one of them shared
    assert rows == [
        dict(case="one", frames=n, dsc_gland=0.5, dsc_frames=0.5, seconds=0.25)
        for n in (1, 2)
    ]
