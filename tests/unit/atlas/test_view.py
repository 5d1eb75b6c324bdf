"""Tests of deepreg_meta/atlas/view.py."""

import os
import shutil

import numpy as np
import pytest

from deepreg_meta.atlas import view as module
from deepreg_meta.atlas.view import NetworkView
from deepreg_meta.dataset.files import PairFiles
from deepreg_meta.dataset.pair import read_pair
from deepreg_meta.evaluate import metric
from deepreg_meta.geometry.resample import resample
from deepreg_meta.geometry.transform import Affine, Transform
from deepreg_meta.geometry.volume_file import read_volume
from deepreg_meta.pair_setup import pair_config
from tests.unit.atlas.examples import POSES, config_of, write_all

SIDES = ("moving", "fixed")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """:return: paths of images by name."""
    found = write_all(tmp_path_factory.mktemp("atlases"))
    return {own.name: own.image for own in found}


def view_of(tmp_path, initial="config", dataset=None):
    return NetworkView(config_of(tmp_path, dataset), initial)


def assert_as_read(config, case, target, atlas):
    """Fail unless a pair is what reading both files gives, bit for bit."""
    fresh = read_pair(pair_config(config, "config", False), PairFiles(target),
                      PairFiles(atlas))  # fmt: skip
    for side in SIDES:
        for name in ("image", "affine", "spacing_mm"):
            own, other = (getattr(x, f"{side}_{name}") for x in (case, fresh))
            assert own.tobytes() == other.tobytes()
        assert getattr(case, f"{side}_source").path == str(
            target if side == "fixed" else atlas
        )


INTENSITY = {
    "own": [dict(name="clip", sigmas=2)],
    "of the target": dict(moving=[dict(name="match", reference="fixed")]),
}


@pytest.mark.parametrize("steps", INTENSITY)
def test_pairs_are_what_their_files_hold_in_whatever_order(tmp_path, images, steps):
    """Also where an atlas looks another way beside each target."""
    dataset = dict(intensity=INTENSITY[steps])
    view, config = view_of(tmp_path, dataset=dataset), config_of(tmp_path, dataset)
    order = [("target", "a1"), ("target", "a2"), ("a3", "a2"), ("a3", "a1"),
             ("target", "a2"), ("a1", "a3")]  # fmt: skip
    for target, atlas in order:
        case = view.case(images[target], images[atlas])
        assert_as_read(config, case, images[target], images[atlas])


def test_atlases_are_read_once(tmp_path, images, monkeypatch):
    """But for the one that each further target is read with, or with no memory."""
    reads = []
    original = module.read_pair

    def read(*args):
        reads.append(args[2].image.name)
        return original(*args)

    monkeypatch.setattr(module, "read_pair", read)
    jobs = [(t, a) for t in ("target", "a3") for a in ("a1", "a2", "a1")]
    for room, number in ((4.0, 3), (0.0, 6)):
        view = view_of(tmp_path, dataset=dict(cache_gb=room))
        reads.clear()
        for target, atlas in jobs:
            view.case(images[target], images[atlas])
        assert len(reads) == number


def test_a_target_that_was_written_anew_is_read_anew(tmp_path, images):
    """As a scanner does that has one name for its newest image."""
    live, view = tmp_path / "live.nii.gz", view_of(tmp_path)
    shutil.copy(images["target"], live)
    view.case(live, images["a1"])
    shutil.copy(images["a3"], live)
    os.utime(live, ns=(1, 1))
    case = view.case(live, images["a1"])
    assert_as_read(config_of(tmp_path), case, live, images["a1"])


def test_images_are_compared_as_the_network_sees_them(tmp_path, images):
    """Cropped and padded, scaled to [0, 1], voxel on voxel where grids are alike."""
    shape = [12, 18, 16]
    dataset = dict(moving_image_shape=shape, fixed_image_shape=shape,
                   intensity=[dict(name="clip", sigmas=2)])  # fmt: skip
    view = view_of(tmp_path, dataset=dataset)
    case = view.case(images["target"], images["a1"])
    assert case.fixed_image.shape == (12, 18, 16)
    start = view.start(case)
    np.testing.assert_allclose(start.matrix, np.eye(4), atol=1e-4)
    expected = np.corrcoef(case.fixed_image.ravel(), case.moving_image.ravel())[0, 1]
    assert view.similarity(case, start, "ncc") == pytest.approx(expected, abs=1e-12)


def test_the_true_pose_makes_images_alike(tmp_path, images):
    view = view_of(tmp_path)
    for name in ("a1", "a2", "a3"):
        case = view.case(images["target"], images[name])
        true = Transform((Affine(POSES[name]),))
        for measure in ("ncc", "nlcc"):
            before = view.similarity(case, view.start(case), measure)
            assert view.similarity(case, true, measure) > before + 0.01


def test_images_are_compared_through_a_transform(tmp_path, images):
    """On the target's grid, the atlas' lowest value around it."""
    view = view_of(tmp_path)
    case = view.case(images["target"], images["a2"])
    true = Transform((Affine(POSES["a2"]),))
    grids = case.moving_grid, case.fixed_grid
    low = float(case.moving_image.min())
    moved = resample(case.moving_image, *grids, true, outside=low)
    expected = metric.local_ncc(case.fixed_image, moved)
    assert view.similarity(case, true, "nlcc") == expected


def test_without_overlap_nothing_is_alike(tmp_path, images):
    view = view_of(tmp_path)
    case = view.case(images["target"], images["a1"])
    far = np.eye(4)
    far[0, 3] = 500
    away = Transform((Affine(far),))
    assert np.isnan(view.similarity(case, away, "ncc"))


def test_images_on_the_targets_own_grid(tmp_path, images):
    """After the intensity steps; around an atlas lies its lowest value."""
    view = view_of(tmp_path, dataset=dict(intensity=[dict(name="z_score")]))
    case = view.case(images["target"], images["a1"])
    voxels = [read_volume(images[name]).voxels for name in ("target", "a1")]
    own, other = ((x - x.mean()) / x.std() for x in voxels)
    np.testing.assert_allclose(view.target(case), own, atol=1e-5)
    np.testing.assert_allclose(view.warped(case, Transform()), other, atol=1e-5)
    shift = np.eye(4)
    shift[0, 3] = 1.0  # a voxel
    warped = view.warped(case, Transform((Affine(shift),)))
    np.testing.assert_allclose(warped[:-1], other[1:], atol=1e-4)
    np.testing.assert_allclose(warped[-1], other.min(), atol=1e-5)


def test_an_atlas_is_matched_to_its_target_on_their_own_grids_too(tmp_path, images):
    view = view_of(tmp_path, dataset=dict(intensity=INTENSITY["of the target"]))
    case = view.case(images["target"], images["target"])
    np.testing.assert_allclose(
        view.warped(case, Transform()), view.target(case), atol=0.02
    )
