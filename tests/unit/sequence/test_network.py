"""
Tests of deepreg_meta/sequence/network.py, with networks whose weights are random.

TensorFlow has no name of its own here, see tests/unit/test_registration.py.
"""

import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from deepreg_meta.config import load_config
from deepreg_meta.dataset.files import PairFiles
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.picture_file import save_picture
from deepreg_meta.geometry.volume_file import save_volume
from deepreg_meta.sequence.network import NetworkRegistrar
from deepreg_meta.sequence.read import read_sequence
from deepreg_meta.sequence.track import track
from tests.helpers import eager
from tests.pairs import run_of, write_run
from tests.unit.sequence.examples import shifting

SIDES = [20, 17]
# of TensorFlow, where functions run as they stand
pytestmark = pytest.mark.filterwarnings("ignore:Even though the `tf.config")


@pytest.fixture(scope="module", autouse=True)
def as_it_stands():
    with eager():
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """:return: folder of a run of random weights on images, aligned by their labels."""
    config = run_of(
        dict(align="centroid", adapt=dict(steps=3)),
        dict(moving_image_shape=SIDES, fixed_image_shape=SIDES),
    )
    return write_run(tmp_path_factory.mktemp("run") / "random", config, None)


@pytest.fixture(scope="module")
def network(run):
    return NetworkRegistrar(str(run), adapt_steps=1)


def test_frames_of_another_number_of_axes_are_refused_by_the_name_of_their_file(
    network,
):
    images = replace(shifting(2), paths=(Path("echo.nii"),))
    network.check(replace(images, layout="plane"))
    network.check(images)  # a slice each, of three axes
    volumes = replace(
        shifting(2, (20, 17, 6), np.array([1, 2, 0])), paths=(Path("heart.nii"),)
    )
    with pytest.raises(ValueError, match=r"^heart.nii: expected a 2-D image, got 3-D"):
        network.check(volumes)
    shapes = dict.fromkeys(("moving_image_shape", "fixed_image_shape"), [16, 20, 16])
    config = load_config([], run_of(dataset=shapes))
    deep = SimpleNamespace(registrar=SimpleNamespace(config=config))
    NetworkRegistrar.check(deep, volumes)
    message = r"^echo.nii: expected a 3-D image, got 2-D of shape \(20, 17\)"
    with pytest.raises(ValueError, match=message):
        NetworkRegistrar.check(deep, images)  # (X, Y, 1, T)


def test_the_field_is_that_of_the_registration_of_two_files(network, tmp_path):
    """Voxel on voxel although the run aligns by labels; in voxels of the frames."""
    affine = np.array([[0, 0.8, 0, 3], [-0.5, 0, 0, 4], [0, 0, 1, 0], [0, 0, 0, 1]])
    sequence = replace(shifting(3), grid=Grid((*SIDES, 1), affine))
    [pair, *_] = track(sequence, network)
    files = []
    for index in (1, 0):
        path = tmp_path / f"{index}.nii"
        save_volume(path, sequence.images[index], sequence.grid.affine)
        files.append(PairFiles(path))
    expected = network.registrar.register(*files, adapt_steps=1, initial="center")
    [field, affine] = expected.transform.parts
    np.testing.assert_allclose(affine.matrix, np.eye(4), atol=1e-6)
    world = pair.ddf @ sequence.grid.affine[:3, :3].T
    np.testing.assert_allclose(world, field.vectors, atol=1e-5)
    assert np.abs(pair.ddf[..., :2]).max() > 0.05 and not pair.ddf[..., 2].any()


def test_a_pair_takes_what_its_adaptation_and_prediction_took(network):
    """Files and, for the first pair, compilation left out."""
    [pair] = track(shifting(2), network)
    assert 0 < pair.seconds == network.seconds


def test_each_pair_starts_from_the_weights_of_the_network(network):
    """The last pair alone has the field that it has in the sequence."""
    sequence = shifting(3)
    pairs = list(track(sequence, network))
    frames = [sequence.frame(index) for index in (2, 1)]
    np.testing.assert_array_equal(network.register_frames(*frames), pairs[1].ddf)
    assert np.abs(pairs[1].ddf - pairs[0].ddf).max() > 1e-4


@pytest.fixture
def asked(network, monkeypatch):
    """:return: the files of each registration and what they hold, as they are read."""
    found = []
    original = network.registrar.register

    def register(*sides, **options):
        for side in sides:
            masks = None if side.mask is None else nib.load(side.mask).get_fdata()
            found.append((Path(side.image), masks, options))
        return original(*sides, **options)

    monkeypatch.setattr(network.registrar, "register", register)
    return found


def test_masks_go_to_the_loss(network, asked):
    """Those of both frames; the field is another one."""
    sequence = shifting(2)
    region = np.zeros((2, *SIDES, 1), bool)
    region[0, 4:15, 3:12] = True
    region[1, 6:18, 2:11] = True
    [without] = track(sequence, network)
    [within] = track(sequence, network, region=region)
    assert [masks is None for _, masks, _ in asked] == [True, True, False, False]
    for (_, mask, options), index in zip(asked[2:], (1, 0), strict=True):
        np.testing.assert_array_equal(mask > 0, region[index])
        assert options["adapt_steps"] == 1 and options["initial"] == "center"
    assert np.abs(within.ddf - without.ddf).max() > 1e-5
    assert not any(path.exists() for path, _, _ in asked)  # passing files


def test_frames_that_have_files_of_their_own_are_read_from_them(
    network, asked, tmp_path
):
    """Pictures, with a mask beside them."""
    sequence = shifting(2)
    for index, image in enumerate(sequence.images):
        save_picture(tmp_path / f"f{index}.png", 255 * image, np.uint8)
    pictures = read_sequence(tmp_path)
    mask = np.ones((1, *SIDES, 1), bool)
    mask[0, :3] = False
    [pair] = track(pictures, network, region=mask)
    assert [path for path, _, _ in asked] == [pictures.paths[1], pictures.paths[0]]
    np.testing.assert_array_equal(asked[0][1] > 0, mask[0, :, :, 0])
    assert np.isfinite(pair.ddf).all()


def test_frames_without_a_place_are_handed_over_without_one(network, asked, tmp_path):
    """Or they would be turned to where the axes of the training data point."""
    sequence = replace(shifting(2), has_orientation=False)
    codes = []
    original = nib.save

    def save(image, path):
        codes.append((int(image.header["sform_code"]), int(image.header["qform_code"])))
        np.testing.assert_allclose(image.header.get_zooms()[:2], [0.5, 0.8])
        original(image, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("deepreg_meta.sequence.network.nib.save", save)
        [bare] = track(sequence, network)
    assert codes == [(0, 0), (0, 0)]
    [placed] = track(shifting(2), network)
    np.testing.assert_allclose(bare.ddf, placed.ddf, atol=1e-5)


def test_what_holds_for_all_frames_is_told_once(run, caplog):
    """That of the first pair; loggers are as they were afterwards."""
    network = NetworkRegistrar(str(run))
    sequence = replace(shifting(4), has_orientation=False)
    with caplog.at_level(logging.INFO):
        list(track(sequence, network))
    told = [m for m in caplog.messages if "states no place in space" in m]
    assert len(told) == 2 and "frame_001" in told[0] and "frame_000" in told[1]
    assert sum("Compiled in" in m for m in caplog.messages) == 1
    assert logging.getLogger("deepreg_meta.pair_setup").level == logging.NOTSET


def test_steps_follow_the_run_unless_they_are_given(run, network, tmp_path):
    assert network.steps == 1 and NetworkRegistrar(str(run)).steps == 3
    assert NetworkRegistrar(str(run), adapt_seconds=0.1).steps is None
    for words, expected in (
        (dict(adapt_steps=0), False),
        (dict(adapt_steps=1), True),
        (dict(adapt_seconds=0.1), True),
        ({}, True),
    ):
        assert NetworkRegistrar(str(run), **words).changes_weights is expected
    assert network.checkpoint == str(run / "save" / "ckpt-1")
    network.dump_config(tmp_path)
    text = (tmp_path / "config.yaml").read_text()
    assert text.startswith("#") and f"checkpoint {network.checkpoint}" in text


def test_the_configuration_that_is_saved_says_what_was_asked_for(run, tmp_path):
    NetworkRegistrar(str(run), adapt_steps=7, keep="last").dump_config(tmp_path)
    adapt = load_config(tmp_path / "config.yaml").adapt
    assert (adapt.steps, adapt.keep) == (7, "last")
    NetworkRegistrar(str(run), adapt_seconds=1.5).dump_config(tmp_path)
    assert load_config(tmp_path / "config.yaml").adapt.keep == "best"
    assert "# adapt-seconds 1.5\n" in (tmp_path / "config.yaml").read_text()


def test_volumes_are_registered_along_all_three_axes(tmp_path):
    """On a network's grid of another shape than the frames'."""
    shape = [12, 11, 10]
    run = write_run(
        tmp_path / "run",
        run_of(dataset=dict(moving_image_shape=shape, fixed_image_shape=shape)),
        None,
    )
    sequence = shifting(2, (14, 12, 9), np.array([1, 0, -1]))
    network = NetworkRegistrar(str(run), adapt_steps=1)
    [pair] = track(sequence, network, "forward")
    assert pair.ddf.shape == (14, 12, 9, 3)
    assert (np.abs(pair.ddf).max(axis=(0, 1, 2)) > 0.02).all()


def test_a_run_that_adapts_by_labels_alone_is_refused(tmp_path):
    """Frames have none; without updates it may track."""
    config = run_of(
        dict(image=None), dict(moving_image_shape=SIDES, fixed_image_shape=SIDES)
    )
    run = write_run(tmp_path / "labels", config, None)
    with pytest.raises(ValueError, match="this run adapts by labels"):
        next(track(shifting(2), NetworkRegistrar(str(run), adapt_steps=2)))
    [pair] = track(shifting(2), NetworkRegistrar(str(run), adapt_steps=0))
    assert np.isfinite(pair.ddf).all()


@pytest.fixture(scope="module")
def image_run(tmp_path_factory):
    """:return: folder of a run without labels that adapts by plain gradient descent."""
    plain = dict(optimizer=dict(name="SGD", learning_rate=0.02), labels=[])
    config = run_of(
        dict(adapt=plain, label=None),
        dict(moving_image_shape=SIDES, fixed_image_shape=SIDES, labeled=False),
    )
    return write_run(tmp_path_factory.mktemp("images") / "random", config, None)


def still(number):
    """:return: a sequence of equal frames: each pair is the same."""
    sequence = shifting(3)
    return replace(sequence, images=[sequence.images[0]] * number)


def test_weights_are_carried_from_pair_to_pair(image_run):
    """Of equal pairs the second one ends where two updates of one pair end."""
    options = dict(adapt_steps=1, keep="last")
    sequence = still(3)
    carrying = NetworkRegistrar(str(image_run), **options, carry=True)
    first, second = (pair.ddf for pair in track(sequence, carrying, carry=True))
    assert np.abs(first - second).max() > 1e-4
    twice = NetworkRegistrar(str(image_run), adapt_steps=2, keep="last")
    [pair] = track(still(2), twice)
    np.testing.assert_allclose(second, pair.ddf, atol=1e-5)
    # another sequence starts anew
    again = next(track(sequence, carrying, carry=True))
    np.testing.assert_allclose(again.ddf, first, atol=1e-6)


def test_pairs_are_adapted_to_together(image_run):
    """One set of weights predicts both pairs; updates see them in turn."""
    options = dict(adapt_steps=2, keep="last")
    sequence = shifting(3)
    together = NetworkRegistrar(str(image_run), **options)
    frames = [(sequence.frame(i + 1), sequence.frame(i)) for i in range(2)]
    together.fit_together(frames)
    found = [pair.ddf for pair in track(sequence, together)]
    with pytest.raises(ValueError, match="frames 1 and 0: expected a pair that the"):
        next(track(still(2), together))  # of another sequence
    alone = NetworkRegistrar(str(image_run), **options)
    apart = [pair.ddf for pair in track(sequence, alone)]
    for a, b in zip(found, apart, strict=True):
        assert np.abs(a - b).max() > 1e-5
    # of equal pairs it does not matter which one an update sees
    same = NetworkRegistrar(str(image_run), **options)
    equal = still(3)
    same.fit_together([(equal.frame(i + 1), equal.frame(i)) for i in range(2)])
    [pair] = track(still(2), NetworkRegistrar(str(image_run), **options))
    for own in track(equal, same):
        np.testing.assert_allclose(own.ddf, pair.ddf, atol=1e-5)
        assert own.seconds > 0
