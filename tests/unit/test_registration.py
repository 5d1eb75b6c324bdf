"""
Tests of deepreg_meta/registration.py, with networks whose weights are random.

TensorFlow has no name of its own here: for modules that have one the global seed is set
before each test, after which every compiled graph is prepared anew.
"""

import logging
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from deepreg_meta.callback.fine_tune import FineTune
from deepreg_meta.config import load_config
from deepreg_meta.dataset.pair import PairFiles, read_pair
from deepreg_meta.geometry.affine import GeometryError, apply
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.landmarks import Landmarks, save_landmarks
from deepreg_meta.geometry.volume_file import read_volume, save_volume
from deepreg_meta.pair_setup import pair_config
from deepreg_meta.registration import Registrar
from deepreg_meta.results.limits import Limits
from tests.helpers import without_xla, write_yaml
from tests.pairs import (
    CENTRE,
    NAMES,
    POINTS,
    grid_at,
    run_of,
    turn,
    write_run,
    write_side,
)

FIXED_GRID = grid_at((13, 15, 11), (1.2, 1.0, 1.5), (10, -5, 20))
MOVING_GRID = grid_at((16, 14, 12), (1.0, 1.1, 1.6), (-8, 5, 12))
POSE = turn((5, 8, -4), (2, -1, 1.5))  # of the anatomy in the moving image
# voxels of one size, images cut off and filled up: grids unlike those of the files
GRID = dict(grid=dict(spacing_mm=[1.5, 1.2, 1.4], fit="pad"))
PLACES = CENTRE + np.random.default_rng(0).uniform(-5, 5, (20, 3))


@pytest.fixture(scope="module", autouse=True)
def plain_graphs():
    with without_xla():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """:return: folder of the run and of the files."""
    return tmp_path_factory.mktemp("registration")


@pytest.fixture(scope="module")
def run(folder):
    return write_run(folder / "run", run_of(dataset=GRID))


@pytest.fixture(scope="module")
def sides(folder):
    """:return: files of the fixed and of the moving side."""
    return (
        write_side(folder, "fixed", FIXED_GRID),
        write_side(folder, "moving", MOVING_GRID, POSE),
    )


@pytest.fixture(scope="module")
def other_sides(folder):
    """:return: another pair."""
    pose = turn((-6, 3, 9), (-1.5, 1, -2))
    return (
        write_side(folder, "fixed2", FIXED_GRID),
        write_side(folder, "moving2", MOVING_GRID, pose),
    )


@pytest.fixture(scope="module")
def registrar(run):
    """:return: adapts; two updates are compiled once for all tests of them."""
    return Registrar(str(run))


@pytest.fixture(scope="module")
def still(run):
    """:return: for predictions without updates, whose graph is another one."""
    return Registrar(str(run))


@pytest.fixture(scope="module")
def pair(registrar, sides):
    """:return: the pair, registered with two updates."""
    return registrar.register(*sides, adapt_steps=2)


def bits(pair):
    """:return: all that the model put out, but for times."""
    return {name: value.tobytes() for name, value in pair.result.outputs.items()}


def assert_same_transform(found, expected, atol=1e-3, shift=(0, 0, 0)):
    """Fail unless both lead points to the same places, in mm; or to shifted ones."""
    ends = expected.transform.map_points(PLACES) + shift
    np.testing.assert_allclose(found.transform.map_points(PLACES), ends, atol=atol)


# ---- what comes out ----


def test_adaptation_lowers_the_loss_and_is_scored(pair):
    """The name of the case; scores of labels and landmarks; a field of some length."""
    scores = pair.scores
    assert scores["case"] == "moving_to_fixed" and scores["num_updates"] == 2
    assert scores["loss_adapted"] < scores["loss_unadapted"]
    assert scores["displacement_max_adapted_mm"] > 1
    assert scores["num_landmarks"] == 1 + len(NAMES)  # label_1, and those of the files
    assert pair.warped_image.shape == FIXED_GRID.shape
    first = np.linalg.norm(
        apply(POSE, CENTRE + POINTS)
        - pair.transform.map_points(CENTRE + POINTS), axis=1
    )  # fmt: skip
    rows = {row["landmark"]: row for row in pair.result.landmark_rows}
    found = [rows[name]["tre_adapted_mm"] for name in NAMES]
    np.testing.assert_allclose(found, first, rtol=1e-4)


def test_pairs_do_not_depend_on_those_before_them(
    registrar, pair, sides, other_sides, run
):
    """In either order, the same bits."""
    second = registrar.register(*other_sides, adapt_steps=2)
    assert bits(second) != bits(pair)
    assert bits(registrar.register(*sides, adapt_steps=2)) == bits(pair)
    assert bits(registrar.register(*other_sides, adapt_steps=2)) == bits(second)


def test_the_network_is_compiled_once(registrar, pair, sides, other_sides):
    """Not for the next pair, nor for another number of updates; times are of work."""
    model = registrar._model(registrar.config)
    before = model.predict_function
    traces = before.experimental_get_tracing_count()
    registrar.register(*other_sides, adapt_steps=2)
    third = registrar.register(*sides, adapt_steps=3)
    assert model.predict_function is before
    assert before.experimental_get_tracing_count() == traces
    assert third.scores["num_updates"] == 3


def test_a_run_is_the_same_from_wherever_one_works(run, monkeypatch, tmp_path):
    """What it knows of its training images too."""
    monkeypatch.chdir(run.parent)
    own = Registrar(run.name, f"{run.name}/config.yaml")
    assert own.description is not None
    with pytest.raises(ValueError, match="pairs: expected one at least, got none"):
        own.register_together([])
    monkeypatch.chdir(tmp_path)
    assert own._model(own.config).network.weights
    assert own.description == Registrar(str(run)).description


def test_plans_of_several_kinds_take_turns(run, sides):
    """Without and with adaptation, again and again: each is traced once."""
    own = Registrar(str(run))
    model, found = own._model(own.config), {0: [], 1: []}
    for steps in (0, 1, 0, 1):
        found[steps].append(bits(own.register(*sides, adapt_steps=steps)))
        kept = model._graphs.predict
    assert len(found[0]) == 2 and found[0][0] == found[0][1] != found[1][0]
    assert found[1][0] == found[1][1]
    graphs = [graph for graph in kept.values() if graph is not None]
    assert len({id(graph) for graph in graphs}) == 2
    assert [graph.experimental_get_tracing_count() for graph in graphs] == [1, 1]


# ---- files of other forms ----


def reorient(path, codes, to):
    """Write a volume with its axes turned; nothing moves in space."""
    image = nib.load(path)
    ornt = nib.orientations.ornt_transform(
        nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(codes)
    )
    nib.save(image.as_reoriented(ornt), to)
    return to


def test_files_with_turned_axes_are_brought_to_those_of_training(
    still, sides, tmp_path, caplog
):
    """
    Permuted and flipped files of the same volumes: the same transform of space, and the
    warped image on the turned file's own grid.
    """
    expected = still.register(*sides, adapt_steps=0)
    turned = [
        replace(
            side,
            image=reorient(side.image, codes, tmp_path / f"{codes}.nii.gz"),
            labels=[reorient(side.labels[0], codes, tmp_path / f"{codes}_l.nii.gz")],
        )
        for side, codes in zip(sides, ("PLI", "SAL"), strict=True)
    ]
    with caplog.at_level(logging.INFO):
        found = still.register(*turned, adapt_steps=0)
    assert "axes turned from PLI to RAS" in caplog.text
    assert "axes turned from SAL to RAS" in caplog.text
    assert_same_transform(found, expected)
    assert found.warped_image.shape == (15, 13, 11)
    warped = expected.warped_image.transpose(1, 0, 2)[::-1, ::-1, ::-1]
    np.testing.assert_allclose(found.warped_image, warped, atol=0.05)
    for name in ("tre_adapted_mm", "dsc_adapted", "hd95_adapted_mm"):
        assert found.scores[name] == pytest.approx(expected.scores[name], abs=1e-3)


def test_without_a_word_on_training_files_keep_their_axes(run, sides, tmp_path):
    """A run of an older version has no data.json: the turned file is another input."""
    silent = shutil.copytree(run, tmp_path / "run")
    (silent / "data.json").unlink()
    registrar = Registrar(str(silent))
    expected = registrar.register(*sides, adapt_steps=0, initial="header")
    fixed = replace(
        sides[0],
        image=reorient(sides[0].image, "LPI", tmp_path / "f.nii.gz"),
        labels=[reorient(sides[0].labels[0], "LPI", tmp_path / "l.nii.gz")],
    )
    found = registrar.register(fixed, sides[1], adapt_steps=0, initial="header")
    ends = [p.transform.map_points(PLACES) for p in (found, expected)]
    assert np.abs(ends[0] - ends[1]).max() > 1


def test_files_that_state_no_place_are_told(still, sides, tmp_path, caplog):
    """Both codes of the header 0: nibabel and ITK place them by rules of their own."""
    path = tmp_path / "placeless.nii"
    nib.save(nib.load(sides[1].image), path)
    content = bytearray(path.read_bytes())
    content[252:256] = bytes(4)  # qform_code and sform_code
    path.write_bytes(content)
    still.register(sides[0], replace(sides[1], image=path), adapt_steps=0)
    told = [m for m in caplog.messages if "its header states no place in space" in m]
    assert len(told) == 1 and str(path) in told[0]


def test_labels_may_be_channels_or_files_of_their_own(registrar, pair, sides, tmp_path):
    """The same bits; the files give the names."""
    split = []
    for number, side in enumerate(sides):
        volume = read_volume(side.labels[0])
        paths = []
        for channel, name in enumerate(("gland", "cyst.left")):
            paths.append(tmp_path / str(number) / f"{name}.nii.gz")
            save_volume(paths[-1], volume.voxels[..., channel], volume.grid.affine)
        split.append(replace(side, labels=paths))
    found = registrar.register(*split, adapt_steps=2)
    assert bits(found) == bits(pair)
    assert found.scores["dsc_adapted"] == pair.scores["dsc_adapted"]
    assert [row["label"] for row in found.result.label_rows] == ["gland", "cyst"]


def test_landmarks_are_scored_and_never_seen(registrar, pair, sides, tmp_path):
    """
    (3, 0, 4) mm from where the fixed ones are led: an error of 5 mm, same bits. Those
    of the fixed image are given in its voxels.
    """
    ends = pair.transform.map_points(CENTRE + POINTS) + [3, 0, 4]
    paths = tmp_path / "fixed.csv", tmp_path / "moving.csv"
    voxels = FIXED_GRID.to_voxel(CENTRE + POINTS)
    rows = [f"{n},{i},{j},{k}" for n, (i, j, k) in zip(NAMES, voxels, strict=True)]
    paths[0].write_text("\n".join(["name,i,j,k", *rows]))
    save_landmarks(paths[1], Landmarks(NAMES, ends))
    changed = [
        replace(side, landmarks=path) for side, path in zip(sides, paths, strict=True)
    ]
    found = registrar.register(*changed, adapt_steps=2)
    assert bits(found) == bits(pair)
    rows = {row["landmark"]: row for row in found.result.landmark_rows}
    for name in NAMES:
        assert rows[name]["tre_adapted_mm"] == pytest.approx(5, abs=1e-3)
    assert pair.scores["tre_adapted_mm"] != found.scores["tre_adapted_mm"]


# ---- without labels ----


def bare(sides):
    return [replace(side, labels=()) for side in sides]


def test_an_alignment_by_labels_needs_them(run, sides, tmp_path):
    """The error names what helps."""
    config = run_of({"align": "centroid"}, GRID)
    path = write_yaml(tmp_path / "mine.yaml", config)
    registrar = Registrar(str(run), [path])
    with pytest.raises(ValueError, match="--initial: the run aligns by 'centroid'"):
        registrar.register(*bare(sides), adapt_steps=0)
    found = registrar.register(*bare(sides), adapt_steps=0, initial="center")
    assert "dsc_adapted" not in found.scores


def test_updates_need_something_to_compare(run, sides, tmp_path):
    """Labels alone drive the run: none, and there is only the regularisation."""
    path = write_yaml(tmp_path / "mine.yaml", run_of({"image": None}, GRID))
    registrar = Registrar(str(run), [path])
    with pytest.raises(ValueError, match="--adapt-steps: this run adapts by labels"):
        registrar.register(*bare(sides), adapt_steps=1)
    with pytest.raises(ValueError, match="--adapt-steps: this run adapts by labels"):
        registrar.register(*bare(sides), adapt_seconds=1.0)
    plain = registrar.register(*bare(sides), adapt_steps=0)
    assert plain.scores["num_updates"] == 0
    assert plain.scores["num_landmarks"] == len(NAMES)


def test_without_labels_the_images_adapt(registrar, pair, sides):
    """The label loss of the run is left out, after pairs with labels too."""
    found = registrar.register(str(sides[0].image), sides[1].image, adapt_steps=2)
    assert found.history_names[:2] == ["image", "regularization"]
    assert found.scores["loss_adapted"] < found.scores["loss_unadapted"]


def test_labels_of_one_image_alone_are_refused(registrar, sides):
    with pytest.raises(ValueError, match="labels of both images or of neither"):
        registrar.register(sides[0], bare(sides)[1], adapt_steps=2)
    with pytest.raises(ValueError, match="labels of both images or of neither"):
        registrar.register(bare(sides)[0], sides[1], adapt_steps=2)


# ---- masks ----


def write_masked(folder, name, grid, pose, region):
    """:return: a side without labels whose mask is a region of its image."""
    side = write_side(folder, name, grid, pose)
    image = np.array(read_volume(side.image).voxels)
    image[1, 4, 4], image[2, 5, 4] = 100, 1000  # the range, within the mask
    save_volume(side.image, image, grid.affine)
    mask = np.zeros(grid.shape, np.uint8)
    mask[region] = 1
    save_volume(folder / f"{name}_mask.nii.gz", mask, grid.affine)
    return replace(side, labels=(), mask=folder / f"{name}_mask.nii.gz")


def scramble(side, region):
    """:return: the side with noise in a region of its image."""
    volume = read_volume(side.image)
    image = np.array(volume.voxels)
    noise = np.random.default_rng(1).uniform(100, 1000, image[region].shape)
    image[region] = noise
    path = side.image.with_name("scrambled_" + side.image.name)
    save_volume(path, image, volume.grid.affine)
    return replace(side, image=path)


def test_the_loss_looks_at_nothing_beyond_either_mask(tmp_path, untraced):
    """
    A network of biases alone gives a constant field, whatever the images show; then an
    update depends on the images through the loss alone. It does not change when an
    image changes three voxels and more off its own mask, and does within.
    """
    shapes = dict(moving_image_shape=[16, 14, 12], fixed_image_shape=[13, 15, 11])
    config = run_of({"label": None}, {"labeled": False, **shapes})
    registrar = Registrar(str(write_run(tmp_path / "run", config, biases=True)))
    fixed = write_masked(tmp_path, "fixed", FIXED_GRID, None, np.s_[:8])
    moving = write_masked(tmp_path, "moving", MOVING_GRID, POSE, np.s_[:, :8])
    before = registrar.register(fixed, moving, adapt_steps=1)
    assert before.scores["best_step"] == 1
    for role, region, is_same in (
        ("fixed", np.s_[11:], True),
        ("moving", np.s_[:, 11:], True),
        ("fixed", np.s_[4:7], False),
        ("moving", np.s_[:, 4:7], False),
    ):
        sides = {"fixed": fixed, "moving": moving}
        sides[role] = scramble(sides[role], region)
        after = registrar.register(**sides, adapt_steps=1)
        assert (bits(after) == bits(before)) is is_same, (role, region)
    with pytest.raises(ValueError, match="--moving-mask: expected some voxels of the"):
        far = write_masked(tmp_path, "far", MOVING_GRID, POSE, np.s_[14:])
        registrar.register(fixed, far, adapt_steps=1)


# ---- initial transforms ----

FAR = np.array([40.0, -25.0, 30.0])  # mm; the images are 16 mm wide


@pytest.fixture(scope="module")
def far_sides(folder, sides):
    """:return: the pair with the moving files put elsewhere, same voxels."""
    away = Grid(MOVING_GRID.shape, MOVING_GRID.affine.copy())
    away.affine[:3, 3] += FAR
    moving = write_side(folder, "far", MOVING_GRID, POSE)
    for path in (moving.image, *moving.labels):
        save_volume(path, read_volume(path).voxels, away.affine)
    ends = apply(POSE, CENTRE + POINTS) + FAR
    save_landmarks(moving.landmarks, Landmarks(NAMES, ends))
    return sides[0], moving


def write_tfm(path, matrix):
    """Write an affine map of RAS mm as SimpleITK does, in LPS."""
    flip = np.diag([-1.0, -1, 1, 1])
    lps = flip @ matrix @ flip
    itk = sitk.AffineTransform(3)
    itk.SetMatrix(lps[:3, :3].ravel().tolist())
    itk.SetTranslation(lps[:3, 3].tolist())
    sitk.WriteTransform(itk, str(path))
    return str(path)


def shift_by(vector):
    matrix = np.eye(4)
    matrix[:3, 3] = vector
    return matrix


def test_headers_lay_the_images_where_they_say(still, sides):
    """Before the network points stay where they are: POSE is what remains."""
    found = still.register(*sides, adapt_steps=0, initial="header")
    np.testing.assert_allclose(found.transform.parts[-1].matrix, np.eye(4), atol=1e-4)
    apart = apply(POSE, CENTRE + POINTS) - (CENTRE + POINTS)
    errors = np.linalg.norm(apart, axis=1)
    rows = {row["landmark"]: row for row in found.result.landmark_rows}
    found_errors = [rows[name]["tre_before_mm"] for name in NAMES]
    np.testing.assert_allclose(found_errors, errors, atol=1e-3)
    assert errors.min() > 1


def test_a_file_lays_the_images_on_each_other(still, sides, tmp_path):
    """The very pose: nothing remains before the network, whose field comes first."""
    path = write_tfm(tmp_path / "pose.tfm", POSE)
    found = still.register(*sides, adapt_steps=0, initial=path)
    assert found.scores["tre_before_mm"] < 0.25  # of label_1: half a voxel in one axis
    np.testing.assert_allclose(found.transform.parts[-1].matrix, POSE, atol=1e-3)
    rows = {row["landmark"]: row for row in found.result.landmark_rows}
    assert max(rows[name]["tre_before_mm"] for name in NAMES) < 1e-3
    assert max(rows[name]["tre_adapted_mm"] for name in NAMES) > 0.3


def test_the_file_of_a_known_shift_undoes_it(still, sides, far_sides, tmp_path):
    """The same field and scores as of the pair that was not moved."""
    expected = still.register(*sides, adapt_steps=0, initial="header")
    path = write_tfm(tmp_path / "shift.tfm", shift_by(FAR))
    found = still.register(*far_sides, adapt_steps=0, initial=path)
    assert_same_transform(found, expected, shift=FAR)
    for name in ("tre_adapted_mm", "tre_before_mm", "dsc_adapted"):
        assert found.scores[name] == pytest.approx(expected.scores[name], abs=1e-3)


def test_centres_of_mass_meet_wherever_the_moving_image_lies(still, sides, far_sides):
    """
    (40, -25, 30) mm away, where the headers share no space: the same as at home.
    """
    expected = still.register(*sides, adapt_steps=0, initial="mass")
    found = still.register(*far_sides, adapt_steps=0, initial="mass")
    assert_same_transform(found, expected, shift=FAR)
    assert found.scores["tre_adapted_mm"] == pytest.approx(
        expected.scores["tre_adapted_mm"], abs=1e-3
    )
    # the shift of the anatomy, less what its background weighs
    matrix = expected.transform.parts[-1].matrix
    np.testing.assert_allclose(matrix[:3, :3], np.eye(3), atol=1e-4)
    assert 0.5 < np.linalg.norm(matrix[:3, 3]) < 4
    center = still.register(*sides, adapt_steps=0, initial="center")
    ends = [p.transform.map_points(PLACES) for p in (expected, center)]
    assert np.abs(ends[0] - ends[1]).max() > 0.5


def test_images_that_never_meet_are_refused(still, far_sides, tmp_path):
    """By their headers, and by a file that leads elsewhere."""
    with pytest.raises(GeometryError, match="far.* and .*fixed.* do not overlap"):
        still.register(*far_sides, adapt_steps=0, initial="header")
    path = write_tfm(tmp_path / "t.tfm", shift_by(-FAR))
    with pytest.raises(GeometryError, match=r"do not overlap: .* \d+\.\d mm from"):
        still.register(*far_sides, adapt_steps=0, initial=path)


def test_an_initial_file_is_affine_and_there(still, sides, tmp_path):
    image = sitk.Image([3, 3, 3], sitk.sitkVectorFloat64)
    path = str(tmp_path / "field.h5")
    sitk.WriteTransform(sitk.DisplacementFieldTransform(image), path)
    with pytest.raises(GeometryError, match="--initial: .* an affine transform, got a"):
        still.register(*sides, adapt_steps=0, initial=path)
    with pytest.raises(FileNotFoundError, match="none.tfm: expected a transform file"):
        still.register(*sides, adapt_steps=0, initial=str(tmp_path / "none.tfm"))


# ---- how far ----


@pytest.fixture(scope="module")
def wild(run, folder, sides):
    """
    :return: scores with a learning rate that throws the weights about, by what is kept,
        and how often the network was compiled, after each of four registrations.
    """
    config = run_of({"adapt": {"steps": 3}}, GRID)
    config["train"]["optimizer"]["learning_rate"] = 3.0
    registrar = Registrar(str(run), [write_yaml(folder / "wild.yaml", config)])
    found, compiled, counts = {}, [], []
    original = FineTune.warm_up
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            FineTune, "warm_up", lambda *a: compiled.append(original(*a)) or 0
        )
        for keep in ("best", "best", "last", "last"):
            found[keep] = registrar.register(*sides, keep=keep).scores
            counts.append(len(compiled))
    return {**found, "counts": counts}


def test_the_best_weights_are_kept(wild):
    """
    Never worse in loss than without any update, whatever the updates did; as many as
    `adapt.steps` of the configuration says.
    """
    scores = wild["best"]
    assert scores["num_updates"] == 3
    assert scores["loss_adapted"] <= scores["loss_unadapted"]
    assert scores["best_step"] == 0
    assert scores["tre_adapted_mm"] == scores["tre_unadapted_mm"]


def test_the_last_weights_are_kept_on_request(wild):
    scores = wild["last"]
    assert scores["best_step"] == scores["num_updates"] == 3
    assert scores["loss_adapted"] > scores["loss_unadapted"]


def test_another_way_to_adapt_is_compiled_before_its_time_is_taken(wild):
    """Once for each, and not for the same way again."""
    assert wild["counts"] == [1, 1, 2, 2]
    assert max(wild["best"]["seconds"], wild["last"]["seconds"]) < 2


def test_seconds_end_adaptation(run, sides):
    """As many updates as fit, the best weights kept."""
    registrar = Registrar(str(run))
    scores = registrar.register(*sides, adapt_seconds=0.3).scores
    assert scores["num_updates"] > 1
    assert scores["loss_adapted"] <= scores["loss_unadapted"]
    assert scores["seconds"] < 5  # on a busy machine too; compiled before
    one = registrar.register(*sides, adapt_seconds=1e-9)
    assert one.scores["num_updates"] == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"adapt_steps": -1}, "adapt.steps: expected an integer >= 0, got -1"),
        ({"adapt_seconds": 0.0}, "adapt seconds: expected a number > 0, got 0.0"),
        ({"keep": "first"}, "adapt.keep: expected last or best, got 'first'"),
    ],
)
def test_options_out_of_range_are_refused(registrar, sides, options, words):
    with pytest.raises(ValueError, match=words):
        registrar.register(*sides, **options)


def test_a_suspect_transform_is_logged(registrar, pair, sides, caplog):
    limits = Limits(fold_share=0.0, displacement_mm=0.1)
    found = registrar.register(*sides, adapt_steps=2, limits=limits)
    assert bits(found) == bits(pair)
    folds = found.scores["folds_adapted"] > 0
    assert len(found.warnings) == 1 + folds
    messages = [m for m in caplog.messages if m.startswith("Suspect transform: ")]
    assert len(messages) == 1 + folds and "further than 0.1 mm" in messages[-1]


# ---- networks of DeepReg's own methods ----


def test_networks_of_deepreg_have_their_own_alignment(run, sides, tmp_path):
    """Another one would be silently without effect."""
    config = run_of()
    config.pop("align")
    config["train"].pop("meta")
    config["train"]["method"] = "ddf"
    config["train"]["loss"]["label"] = {"name": "dice"}
    config["train"]["loss"]["regularization"] = {"name": "bending"}
    path = write_yaml(tmp_path / "ddf.yaml", config)
    with pytest.raises(ValueError, match="--initial: expected config .* method ddf"):
        Registrar(str(run), [path]).register(*sides, initial="header")


def test_what_a_run_lacks_is_told(tmp_path, run):
    """A checkpoint; its configuration."""
    with pytest.raises(FileNotFoundError, match="--ckpt_path: expected a checkpoint"):
        Registrar(str(tmp_path / "none"))
    shutil.copy(run / "save" / "ckpt-1.index", tmp_path)
    with pytest.raises(ValueError, match=r"config\.yaml: no such file"):
        Registrar(str(tmp_path / "ckpt-1"))


def test_the_readmes_call_needs_nothing_before_it(run, sides, tmp_path):
    """In a new interpreter, where nobody has touched Keras or DeepReg's registry."""
    code = (
        "from deepreg_meta.dataset.pair import PairFiles\n"
        "from deepreg_meta.registration import Registrar\n"
        f"registrar = Registrar({str(run)!r})\n"
        "print(registrar._model(registrar.config).name)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env={k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "reptile"


def test_landmarks_without_a_partner_are_told(still, sides, tmp_path, caplog):
    """They are not scored; those that both files name are."""
    for name, names in (("fixed", ("a", "b")), ("moving", ("b", "c"))):
        points = Landmarks(names, np.zeros((2, 3)))
        save_landmarks(tmp_path / f"{name}.csv", points)
    given = [
        replace(side, landmarks=tmp_path / f"{name}.csv")
        for side, name in zip(sides, ("fixed", "moving"), strict=True)
    ]
    pair = still.register(*given, adapt_steps=0)
    assert "in one image alone: a, c." in caplog.text
    found = [row["landmark"] for row in pair.result.landmark_rows]
    assert "b" in found and "a" not in found


def test_a_fixed_image_beyond_the_networks_grid_is_told(still, sides, tmp_path, caplog):
    """Twice as many voxels along each axis: the network sees a part of them."""
    large = read_volume(sides[0].image)
    save_volume(
        tmp_path / "large.nii.gz",
        np.pad(large.voxels, 8, mode="edge"),
        large.grid.padded((8, 8, 8)).affine,
    )
    side = replace(sides[0], image=tmp_path / "large.nii.gz", labels=())
    still.register(side, replace(sides[1], labels=()), adapt_steps=0)
    assert "of the fixed image lie outside the network's grid" in caplog.text


def test_a_nominal_spacing_follows_files_with_other_voxels(tmp_path, caplog):
    """Sides 1, 2 and 4 times those of training stand for 1, 2 and 4 times as much."""
    volume = np.random.default_rng(0).random((12, 10, 8)).astype(np.float32)
    path = tmp_path / "image.nii.gz"
    save_volume(path, volume, np.diag([0.4, 0.8, 1.6, 1]))
    nominal = load_config(
        write_yaml(tmp_path / "c.yaml", run_of(dataset=dict(spacing_mm=[1, 1, 1])))
    )
    nominal = pair_config(nominal, "center", labeled=False)
    for expected, sides_mm in (
        ({"file_spacing_mm": [0.4, 0.4, 0.4]}, (1, 2, 4)),
        ({"file_spacing_mm": [0.4, 0.8, 1.6]}, (1, 1, 1)),
        ({}, (1, 1, 1)),
    ):
        caplog.clear()
        files = PairFiles(path)
        case = read_pair(
            nominal, files, files, "pair", {"fixed": expected, "moving": expected}
        )
        shape = np.array(case.fixed_image.shape)
        own = case.fixed_spacing_mm * shape / volume.shape
        np.testing.assert_allclose(own, sides_mm, rtol=1e-5)
        is_told = sides_mm != (1, 1, 1) or not expected
        assert ("dataset.spacing_mm" in caplog.text) is is_told


def test_frames_of_a_sequence_carry_their_weights_on(folder, sides, untraced):
    """Plain gradient descent has no memory: twice one update are two."""
    slow = dict(optimizer=dict(name="SGD", learning_rate=0.01))
    path = write_run(folder / "carried", run_of(dict(adapt=slow), GRID))
    registrar = Registrar(str(path))
    two = registrar.register(*sides, adapt_steps=2, keep="last")
    once = dict(adapt_steps=1, keep="last", carry=True)
    first, second = (registrar.register(*sides, **once) for _ in range(2))
    fields = [pair.result.outputs["ddf"] for pair in (first, second, two)]
    assert np.abs(fields[0] - fields[1]).max() > 1e-4
    np.testing.assert_allclose(fields[1], fields[2], atol=1e-5)
    registrar.forget_pair()
    again = registrar.register(*sides, **once).result.outputs["ddf"]
    np.testing.assert_allclose(again, fields[0], atol=1e-6)
    # what another pair compiles or adapts in between has no say
    registrar.register(*sides, adapt_steps=1, keep="best")
    after = registrar.register(*sides, **once).result.outputs["ddf"]
    np.testing.assert_allclose(after, fields[1], atol=1e-5)
