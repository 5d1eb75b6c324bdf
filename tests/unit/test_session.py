"""
Tests of deepreg_meta/session.py, with networks whose weights are random.

TensorFlow has no name of its own here, as in test_registration.py.
"""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from scipy.ndimage import map_coordinates

from deepreg_meta import weights
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.volume_file import read_volume, save_volume
from deepreg_meta.registration import Registrar
from tests.helpers import without_xla, write_yaml
from tests.pairs import CENTRE, grid_at, run_of, turn, write_run, write_side

FIXED_GRID = grid_at((12, 14, 10), (1.3, 1.1, 1.5))
MOVING_GRID = grid_at((14, 12, 10), (1.2, 1.3, 1.6), (-8, 5, 12))
POSE = turn((5, 8, -4), (2, -1, 1.5))
PLACES = CENTRE + np.random.default_rng(0).uniform(-5, 5, (20, 3))
FRAMES = (2, 5)  # F_min and F_max of the sweep across axis 1


def sparse_run(changes=None, dataset=None):
    """:return: a run that shows frames; it adapts by the gland, and by images."""
    config = run_of({"align": "sections", **(changes or {})}, dataset)
    frames = dict(name="sparse_frames", frames=list(FRAMES), axis=1)
    config["train"]["preprocess"]["data_augmentation"] = [frames]
    return config


@pytest.fixture(scope="module", autouse=True)
def plain_graphs():
    with without_xla():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("session")


@pytest.fixture(scope="module")
def run(folder):
    return write_run(folder / "run", sparse_run())


@pytest.fixture(scope="module")
def registrar(run):
    return Registrar(str(run))


@pytest.fixture(scope="module")
def sides(folder):
    """:return: files of the fixed and of the moving side."""
    return (
        write_side(folder, "fixed", FIXED_GRID),
        write_side(folder, "moving", MOVING_GRID, POSE),
    )


@pytest.fixture(scope="module")
def swept(registrar, sides):
    """:return: the pair with a sweep over the complete fixed image."""
    steps = FRAMES[1] - FRAMES[0]
    return registrar.register(*sides, adapt_steps=steps, keep="last")


@pytest.fixture(scope="module")
def session(registrar, sides):
    """:return: one for all tests that begin with `forget` and their own frames."""
    return open_session(registrar, sides)


def open_session(registrar, sides, fixed=FIXED_GRID, keep="last", **options):
    image = read_volume(sides[0].image).voxels
    options.setdefault("intensity_range", (image.min(), image.max()))
    return registrar.session(fixed, sides[1], keep=keep, **options)


def give(session, side, positions, channels=slice(None)):
    """Give a session some slices of files across axis 1."""
    image = read_volume(side.image).voxels
    labels = np.moveaxis(read_volume(side.labels[0]).voxels, -1, 0)
    for i in positions:
        session.add_frame(image[:, i], i, labels[channels, :, i])


def restart(session, side, positions):
    """Begin anew with other frames."""
    for position in session.positions:
        session.remove_frame(position)
    session.forget()
    give(session, side, positions)


def bits(state):
    """:return: all that the model put out."""
    return {name: value.tobytes() for name, value in state.result.outputs.items()}


# ---- the law ----


def test_frames_that_arrive_one_by_one_are_a_sweep(session, sides, swept):
    """
    The updates of a sweep over a known volume, and those of a session which is given
    its frames one by one, are the same: fields, losses, alignment.
    """
    frames = swept.result.frames
    restart(session, sides[0], frames[: FRAMES[0]])
    losses = []
    for position in frames[FRAMES[0] :]:
        losses.append(session.register(steps=1).result.outputs["history"][0])
        give(session, sides[0], [position])
    state = session.register(steps=0)
    outputs = swept.result.outputs
    assert list(state.positions) == list(frames) and state.updates == 0
    np.testing.assert_allclose(
        losses, outputs["history"][:, : len(losses[0])], rtol=1e-4, atol=1e-6
    )
    for name in ("ddf", "matrix", "offset"):
        np.testing.assert_allclose(
            state.result.outputs[name], outputs[name], atol=2e-4, err_msg=name
        )
    assert np.abs(outputs["ddf"] - outputs["ddf_unadapted"]).max() > 0.05
    assert state.losses[0] == state.losses[1]
    assert state.losses[0] == pytest.approx(float(outputs["losses"][1]), rel=1e-4)
    ends = swept.transform.map_points(PLACES)
    np.testing.assert_allclose(state.transform.map_points(PLACES), ends, atol=1e-3)


def test_the_order_of_frames_within_a_call_does_not_matter(session, sides):
    restart(session, sides[0], [4, 7, 9])
    first = session.register(steps=2)
    restart(session, sides[0], [9, 4, 7])
    assert bits(session.register(steps=2)) == bits(first)


def test_a_frame_that_arrives_during_the_updates_is_seen_by_the_next(
    session, sides, monkeypatch
):
    restart(session, sides[0], [4, 7])
    go_on = session._adaptation.go_on

    def slow(*args, **kwargs):
        # as another thread might: no lock of the frames is held
        give(session, sides[0], [9])
        return go_on(*args, **kwargs)

    expected = session.register(steps=1)
    session.forget()
    monkeypatch.setattr(session._adaptation, "go_on", slow)
    state = session.register(steps=1)
    assert state.positions == (4, 7) and bits(state) == bits(expected)
    assert state.frame_dsc == expected.frame_dsc
    monkeypatch.undo()
    assert session.register(steps=0).positions == (4, 7, 9)


def test_an_error_leaves_the_network_as_it_was_trained(registrar, session, sides):
    """As when memory runs out within the graph, which then does not put it back."""
    network = registrar._model(registrar.config).network
    before = [variable.numpy() for variable in network.weights]
    restart(session, sides[0], [4, 7])
    adaptation = session._adaptation

    def fails(*args):
        weights.restore(network.weights, [value + 1 for value in before])
        raise MemoryError("no memory is left")

    compiled, adaptation._compiled = adaptation._compiled, fails
    try:
        with pytest.raises(MemoryError):
            session.register(steps=1)
    finally:
        adaptation._compiled = compiled
    assert weights.equal(before, network.weights)


def test_other_work_in_between_changes_nothing(registrar, session, sides):
    """Neither another session nor a pair of files; the network stays as trained."""
    model = registrar._model(registrar.config)
    before = [variable.numpy() for variable in model.network.weights]
    restart(session, sides[0], [4, 7])
    session.register(steps=1)
    expected = session.register(steps=1)
    restart(session, sides[0], [4, 7])
    other = open_session(registrar, sides)
    give(other, sides[0], [5])
    session.register(steps=1)
    other.register(steps=2)
    registrar.register(*sides, adapt_steps=1, keep="last")
    assert bits(session.register(steps=1)) == bits(expected)
    assert weights.equal(before, model.network.weights)


def test_forgetting_starts_from_the_trained_weights(session, sides):
    restart(session, sides[0], [4, 7])
    start = session.register(steps=0)
    adapted = session.register(steps=2)
    assert adapted.losses[0] == start.losses[0] > adapted.losses[1]
    again = session.register(steps=0)
    assert again.losses[0] == adapted.losses[1]
    np.testing.assert_array_equal(
        again.result.outputs["ddf"], adapted.result.outputs["ddf"]
    )
    session.forget()
    assert bits(session.register(steps=0)) == bits(start)


def test_a_frame_is_replaced_or_taken_back(session, sides):
    restart(session, sides[0], [4, 7])
    expected = session.register(steps=0)
    shape = session.frame_shape
    session.add_frame(np.full(shape, 300.0), 7, np.zeros((2, *shape)))
    assert bits(session.register(steps=0)) != bits(expected)
    session.remove_frame(7)
    assert session.positions == (4,)
    give(session, sides[0], [7])
    assert bits(session.register(steps=0)) == bits(expected)


def test_the_best_updates_are_kept_on_request(registrar, sides, untraced):
    """With a rate at which updates overshoot, the last ones are worse."""
    losses = {}
    rate = registrar._model(registrar.config)._adaptation.loop.optimizer.learning_rate
    for keep in ("best", "last"):
        session = open_session(registrar, sides, keep=keep)
        give(session, sides[0], [4, 7])
        rate.assign(3.0)
        try:
            losses[keep] = session.register(steps=3).losses
        finally:
            rate.assign(0.01)
    assert losses["best"][0] == losses["last"][0]
    assert losses["last"][1] > losses["last"][0] >= losses["best"][1]


def test_a_second_session_is_not_traced_anew(registrar, session, sides, tmp_path):
    """Nor one with other structures beside the gland."""
    labels = read_volume(sides[1].labels[0])
    path = tmp_path / "gland.nii.gz"
    save_volume(path, labels.voxels[..., 0], labels.grid.affine)
    moving = replace(sides[1], labels=[path])
    other = open_session(registrar, (sides[0], moving))
    assert other._adaptation is session._adaptation
    traces = session._adaptation._compiled.experimental_get_tracing_count()
    give(other, sides[0], [4], 0)
    other.register(steps=2)
    compiled = session._adaptation._compiled
    assert compiled.experimental_get_tracing_count() == traces == 2


def test_a_time_limits_the_updates(session, sides):
    restart(session, sides[0], [4, 7])
    state = session.register(steps=np.int64(0), seconds=1e-6)
    assert state.updates == 1 and state.losses[1] <= state.losses[0]


# ---- grids ----


def test_a_grid_may_be_turned(registrar, session, sides, tmp_path):
    """Frames across another axis of a turned file: the same transform of space."""
    restart(session, sides[0], [4, 7])
    expected = session.register(steps=1)
    turned = []
    for number, path in enumerate((sides[0].image, sides[0].labels[0])):
        image = nib.load(path)
        ornt = nib.orientations.axcodes2ornt("PSL")
        turned.append(tmp_path / f"{number}.nii.gz")
        nib.save(image.as_reoriented(
            nib.orientations.ornt_transform(nib.io_orientation(image.affine), ornt)
        ), turned[-1])  # fmt: skip
    other = open_session(registrar, sides, fixed=turned[0])
    # axis 1, to anterior, has become axis 0, to posterior
    assert other.frame_axis == 0 and other.frame_shape == (10, 12)
    image = read_volume(turned[0]).voxels
    labels = np.moveaxis(read_volume(turned[1]).voxels, -1, 0)
    for position in (4, 7):
        at = FIXED_GRID.shape[1] - 1 - position
        other.add_frame(image[at], at, labels[:, at])
    found = other.register(steps=1)
    ends = expected.transform.map_points(PLACES)
    np.testing.assert_allclose(found.transform.map_points(PLACES), ends, atol=1e-3)
    assert found.warped_image.shape == (14, 10, 12)
    np.testing.assert_allclose(
        found.warped_image, expected.warped_image.transpose(1, 2, 0)[::-1, :, ::-1],
        atol=0.05,
    )  # fmt: skip
    assert found.frame_dsc == pytest.approx(expected.frame_dsc, abs=1e-3)


def test_frames_of_a_finer_grid_are_those_of_a_volume_between_them(registrar, sides):
    """
    Of a volume that does not change across the frames, a few of them, on a grid three
    times as fine there, tell as much as its own.
    """
    grid = Grid((12, 42, 10), FIXED_GRID.affine @ np.diag([1, 1 / 3, 1, 1]))
    grid.affine[:3, 3] -= FIXED_GRID.affine[:3, 1] / 3
    own, fine = open_session(registrar, sides), open_session(registrar, sides, grid)
    image = read_volume(sides[0].image).voxels[:, 6]
    labels = np.moveaxis(read_volume(sides[0].labels[0]).voxels, -1, 0)[:, :, 6]
    for position in (4, 9):
        own.add_frame(image, position, labels)
        fine.add_frame(image, 3 * position + 1, labels)
    states = own.register(steps=1), fine.register(steps=1)
    np.testing.assert_array_equal(*(state.result.outputs["slices"] for state in states))
    ends = [state.transform.map_points(PLACES) for state in states]
    np.testing.assert_allclose(*ends, atol=1e-3)
    assert states[1].warped_image.shape == grid.shape


def test_intensities_without_a_range_are_those_of_the_frames(registrar, sides):
    """Linear in the grey values: another contrast is the same to the network."""
    states = []
    for scale, shift in ((1, 0), (0.01, -3)):
        session = open_session(registrar, sides, intensity_range=None)
        image = scale * read_volume(sides[0].image).voxels + shift
        labels = np.moveaxis(read_volume(sides[0].labels[0]).voxels, -1, 0)
        for i in (4, 7):
            session.add_frame(image[:, i], i, labels[:, :, i])
        states.append(session.register(steps=0))
    fixed = [state.result.case.fixed_image[:, [4, 7]] for state in states]
    np.testing.assert_allclose(*fixed, atol=1e-5)
    assert fixed[0].min() == 0 and fixed[0].max() == 1


# ---- what comes out ----


def test_dice_is_that_of_the_frames(session, sides):
    """Worked out by SciPy from the files and the transform."""
    restart(session, sides[0], [4, 7])
    state = session.register(steps=1)
    fixed = read_volume(sides[0].labels[0]).voxels[..., 0][:, [4, 7]] > 0
    voxels = np.stack(np.meshgrid(
        range(12), (4, 7), range(10), indexing="ij"), axis=-1)  # fmt: skip
    ends = state.transform.map_points(FIXED_GRID.to_world(voxels))
    moving = read_volume(sides[1].labels[0]).voxels[..., 0].astype(float)
    places = np.moveaxis(MOVING_GRID.to_voxel(ends), -1, 0)
    warped = map_coordinates(moving, places, order=1) >= 0.5
    expected = 2 * (fixed & warped).sum() / (fixed.sum() + warped.sum())
    assert 0.1 < expected < 1
    assert state.frame_dsc == {"label_0": pytest.approx(expected, abs=0.02)}


def test_files_lead_where_the_session_does(session, sides, tmp_path):
    """SimpleITK reads the transform; the volumes lie on the session's grid."""
    restart(session, sides[0], [4, 7])
    state = session.register(steps=1)
    state.save(tmp_path / "result")
    transform = sitk.ReadTransform(str(tmp_path / "result" / "transform.h5"))
    lps = [-1, -1, 1]
    ends = [np.array(transform.TransformPoint((p * lps).tolist())) for p in PLACES]
    np.testing.assert_allclose(
        np.array(ends) * lps, state.transform.map_points(PLACES), atol=1e-3
    )
    warped = read_volume(tmp_path / "result" / "warped_image.nii.gz")
    assert warped.grid.is_same(FIXED_GRID)
    fixed = read_volume(tmp_path / "result" / "fixed_image.nii.gz").voxels
    own = read_volume(sides[0].image).voxels
    np.testing.assert_allclose(fixed[:, [4, 7]], own[:, [4, 7]], rtol=1e-5)
    assert not fixed[:, [i for i in range(14) if i not in (4, 7)]].any()
    assert (tmp_path / "result" / "figure.png").stat().st_size > 10_000
    state.save(tmp_path / "result")  # in place of the last one
    row = pd.read_csv(tmp_path / "result" / "session.csv").iloc[0]
    assert row["frames"] == "4 7" and row["updates"] == 1
    assert row["dsc_frames_label_0"] == pytest.approx(state.frame_dsc["label_0"])
    (tmp_path / "result" / "mine.txt").touch()
    with pytest.raises(ValueError, match="files that are none: mine.txt"):
        state.save(tmp_path / "result")
    assert "array" not in repr(state)


# ---- labels ----


@pytest.fixture(scope="module")
def by_label(run, folder):
    """:return: a registrar of the run, adapting by the gland alone."""
    config = sparse_run({"image": None})
    path = write_yaml(folder / "by_label.yaml", config)
    own = write_run(folder / "by_label", config)
    return Registrar(str(own), [path])


def test_the_contour_of_the_gland_will_do(by_label, sides, untraced):
    """Other channels are for scoring: given or not, they have no say."""
    states = []
    for channels in (slice(None), 0):
        session = open_session(by_label, sides)
        give(session, sides[0], [4, 7], channels)
        states.append(session.register(steps=1))
    assert bits(states[0]) == bits(states[1])
    assert list(states[0].frame_dsc) == ["label_0"]


def test_without_a_contour_in_view_labels_teach_nothing(by_label, sides, untraced):
    """No update, and the alignment of the grids; then the gland comes into view."""
    session = open_session(by_label, sides)
    image, shape = read_volume(sides[0].image).voxels, session.frame_shape
    session.add_frame(image[:, 0], 0, np.zeros(shape))
    state = session.register(steps=3)
    assert state.updates == 0 and state.losses[0] == state.losses[1]
    assert np.isnan(state.frame_dsc["label_0"])
    give(session, sides[0], [6], 0)
    state = session.register(steps=3)
    assert state.updates == 3 and state.losses[1] < state.losses[0]


def test_images_alone_will_do(sides, tmp_path, untraced):
    config = sparse_run({"align": "center", "label": None}, {"labeled": False})
    path = write_yaml(tmp_path / "images.yaml", config)
    own = Registrar(str(write_run(tmp_path / "run", config)), [path])
    session = own.session(FIXED_GRID, sides[1].image, keep="last")
    image = read_volume(sides[0].image).voxels
    for position in (4, 7):
        session.add_frame(image[:, position], position)
    state = session.register(steps=2)
    assert state.losses[1] < state.losses[0]
    assert state.frame_dsc == {} and state.warped_labels is None
    with pytest.raises(ValueError, match="label: expected none, as of the moving side"):
        session.add_frame(image[:, 5], 5, np.zeros(session.frame_shape))


# ---- refusals ----

SHAPE = (12, 10)
LABELS = np.zeros((2, *SHAPE))


@pytest.mark.parametrize(
    ("image", "position", "label", "words"),
    [
        (np.zeros((10, 12)), 3, LABELS, "image: expected a frame of 12 x 10 voxels"),
        (np.full(SHAPE, np.nan), 3, LABELS, "image: expected finite intensities"),
        (np.zeros(SHAPE), 14, LABELS, "position: expected an integer from 0 to 13"),
        (np.zeros(SHAPE), -1, LABELS, "position: expected an integer from 0 to 13"),
        (np.zeros(SHAPE), 2.5, LABELS, "position: expected an integer from 0 to 13"),
        (np.zeros(SHAPE), 3, None, "label: expected the contour of the frame"),
        (np.zeros(SHAPE), 3, LABELS[:1], "label: expected 2 channels of 12 x 10"),
        (np.zeros(SHAPE), 3, LABELS[0, :5], "label: expected a mask of 12 x 10 voxels"),
        (np.zeros(SHAPE), 3, LABELS + 255, "label: expected values .* give `mask > 0`"),
        (np.zeros(SHAPE), 3, LABELS + np.nan, r"label: expected values in \[0, 1\]"),
    ],
)
def test_frames_that_do_not_fit_are_refused(session, image, position, label, words):
    """And nothing of them stays."""
    before = session.positions
    with pytest.raises(ValueError, match=words):
        session.add_frame(image, position, label)
    assert session.positions == before


def test_what_cannot_be_a_session_is_refused(registrar, session, sides, tmp_path):
    for position in session.positions:
        session.remove_frame(position)
    with pytest.raises(ValueError, match="No frame has arrived: expected one"):
        session.register()
    with pytest.raises(ValueError, match=r"expected that of a frame, one of \[\]"):
        session.remove_frame(3)
    give(session, sides[0], [4])
    for steps in (-1, 1.5, True, None):
        with pytest.raises(ValueError, match="steps: expected an integer >= 0, got"):
            session.register(steps=steps)
    for seconds in (0, "1", np.inf):
        with pytest.raises(ValueError, match="seconds: expected a number > 0, got"):
            session.register(seconds=seconds)
    session.add_frame(np.full(SHAPE, 7.0), 4, LABELS)
    with pytest.raises(ValueError, match=r"constant 7 in all of them, .* \[4\]"):
        session.register()
    with pytest.raises(ValueError, match="initial: expected config, center, header"):
        open_session(registrar, sides, initial="mass")
    with pytest.raises(ValueError, match="moving: expected PairFiles with labels"):
        open_session(registrar, (sides[0], replace(sides[1], labels=())))
    for limits in ((5, 5), (1,)):
        with pytest.raises(ValueError, match="intensity_range: expected two numbers"):
            open_session(registrar, sides, intensity_range=limits)
    whole = write_yaml(tmp_path / "whole.yaml", run_of())
    with pytest.raises(ValueError, match="expected sparse_frames"):
        open_session(Registrar(registrar.checkpoint, [whole]), sides)
