"""Tests of deepreg_meta/results/score.py."""

from dataclasses import replace

import numpy as np
import pytest

from deepreg_meta.dataset.source import Source
from deepreg_meta.geometry.affine import apply
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.landmarks import Landmarks
from deepreg_meta.results.scene import Scene
from deepreg_meta.results.score import score
from tests.unit.results.examples import (
    FIXED,
    MOVING,
    OFFSET,
    PLACES,
    SHIFT,
    TURNS,
    make_case,
    make_result,
    source,
    without_labels,
)

STAGES = ("before", "unadapted", "adapted")


def scored(*args, **options):
    """:return: a scored result, see `make_result`."""
    result = make_result(*args, **options)
    score(Scene(result))
    return result


def shown(volume, start):
    """:return: what the fixed grid shows of a moving volume, from voxel `start` on."""
    ends = np.maximum(np.add(start, FIXED) - MOVING, 0)
    box = tuple(slice(s, s + n) for s, n in zip(start, FIXED, strict=True))
    return np.pad(volume, [(0, end) for end in ends])[box]


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.parametrize("turn", TURNS.values(), ids=list(TURNS))
@pytest.mark.parametrize("place", PLACES)
def test_the_landmark_error_is_what_is_left_of_the_shift_in_mm(place, turn):
    """
    Before: SHIFT in voxels of the moving file times their sides, whatever the grid of
    the network; then half of it, then nothing.
    """
    result = scored(make_case(place, turn), turn)
    sides = np.linalg.norm(PLACES[place][1][:3, :3], axis=0)
    length = np.linalg.norm(SHIFT * sides)
    assert length > 2
    row = result.case_row
    assert row["tre_before_mm"] == pytest.approx(length, rel=1e-4)
    assert row["tre_unadapted_mm"] == pytest.approx(length / 2, rel=1e-4)
    assert row["tre_adapted_mm"] == pytest.approx(0, abs=1e-4)
    assert row["num_landmarks"] == 2
    assert [r["landmark"] for r in result.landmark_rows] == ["cyst", "apex"]
    for landmark in result.landmark_rows:
        assert landmark["case"] == "case7"
        assert landmark["tre_before_mm"] == pytest.approx(length, rel=1e-4)


@pytest.mark.parametrize("turn", TURNS.values(), ids=list(TURNS))
def test_a_nominal_spacing_measures_in_its_own_units(turn):
    """|(1, -1, 2) * (1, 3, 5)| = sqrt(110), not the mm of the header."""
    result = scored(make_case("oblique", turn, spacing_mm=(1, 3, 5)), turn)
    row = result.case_row
    assert row["tre_before_mm"] == pytest.approx(np.sqrt(110), rel=1e-4)
    assert row["tre_unadapted_mm"] == pytest.approx(np.sqrt(110) / 2, rel=1e-4)
    # the field of the network, in its own voxels, is as long
    assert row["displacement_max_adapted_mm"] == pytest.approx(np.sqrt(110), rel=1e-4)
    assert result.unit == "voxels"


def test_single_slices_are_scored_as_volumes_are():
    """Slice 4 of the fixed and 7 of the moving image: (1, -1) voxels remain."""
    case, changes = make_case("oblique"), {}
    for kind, index in (("fixed", 4), ("moving", 7)):
        own = getattr(case, f"{kind}_source")
        image, labels = (volume[..., index, None] for volume in own.read())
        grid = Grid((*image.shape[:2], 1), own.grid.affine)
        changes |= {
            f"{kind}_image": image,
            f"{kind}_labels": labels,
            f"{kind}_source": source(grid, image, labels, f"{kind}.nii"),
        }
    field = np.zeros((*FIXED[:2], 1, 3), np.float32)
    field[..., :2] = SHIFT[:2]
    options = dict(ddf=field, ddf_unadapted=field / 2, is_sparse=False)
    offset = np.float32([*OFFSET[:2], 0])
    result = scored(replace(case, **changes), offset=offset, **options)
    row = result.case_row
    # sides of the moving file: (1.1, 0.6, 1.9)
    apart = np.hypot(1.1, 0.6)
    assert row["tre_before_mm"] == pytest.approx(apart, rel=1e-4)
    assert row["tre_unadapted_mm"] == pytest.approx(apart / 2, rel=1e-4)
    assert row["dsc_adapted"] == 1 > row["dsc_unadapted"] > row["dsc_before"]
    assert row["hd95_adapted_mm"] == 0 < row["hd95_before_mm"] < 3
    assert row["folds_adapted"] == 0 and row["jacobian_min_adapted"] == 1


def test_surface_distances_take_the_nominal_spacing_too():
    """All of the shift along axis 0: 95 % of the surface is 1 voxel of 4 off, or 0."""
    case = make_case("upright", spacing_mm=(4, 1, 1))
    field = np.zeros((*FIXED, 3), np.float32)
    field[...] = SHIFT + [1, 0, 0]
    row = scored(case, ddf=field).case_row
    assert row["hd95_adapted_mm"] == pytest.approx(4, rel=1e-3)
    mm = scored(make_case("upright"), ddf=field).case_row
    assert mm["hd95_adapted_mm"] == pytest.approx(1, rel=1e-3)
    assert row["asd_adapted_mm"] > mm["asd_adapted_mm"] > 0


@pytest.mark.parametrize("turn", TURNS.values(), ids=list(TURNS))
def test_dice_of_the_gland_rises_to_one(turn):
    """Before registration it is that of balls SHIFT apart, counted in the files."""
    case = make_case("left-handed", turn)
    result = scored(case, turn)
    fixed = case.fixed_source.read()[1] >= 0.5
    moving = case.moving_source.read()[1] >= 0.5
    start = turn.first(MOVING) - turn.first(FIXED) + OFFSET
    row = result.case_row
    for index, name in enumerate(("gland", "cyst")):
        aligned = shown(moving[index], start.astype(int))
        expected = dice(aligned, fixed[index])
        own = result.label_rows[index]
        assert (own["case"], own["label"]) == ("case7", name)
        assert own["dsc_before"] == pytest.approx(expected, abs=1e-6)
        assert own["dsc_adapted"] == pytest.approx(1)
        # whole voxels, where the nearest one is what a linear mean gives
        assert own["dsc_nearest_before"] == own["dsc_before"]
        assert own["dsc_nearest_adapted"] == own["dsc_adapted"]
    assert 0 < row["dsc_before"] < row["dsc_unadapted"] < row["dsc_adapted"] == 1
    assert row["hd95_adapted_mm"] == row["asd_adapted_mm"] == 0 < row["asd_before_mm"]
    assert row["dsc_before"] == result.label_rows[0]["dsc_before"]
    assert row["asd_before_mm"] == result.label_rows[0]["asd_before_mm"]


def test_what_the_sweep_hides_is_scored_too():
    """
    The Dice off the frames looks at the files' slices that no frame shows, which axis 1
    of the network leads to: the file's axis 2, backwards, 9 - 3, 9 - 4 and 9 - 6.
    """
    turn = TURNS["turned, coarser"]
    case = make_case("oblique", turn)
    image, labels = case.fixed_source.read()
    spoilt = labels.copy()
    spoilt[0][:, :, [3, 5, 6]] = 0
    own = Source("f", case.fixed_source.grid, lambda: (image, spoilt))
    rows = [
        scored(each, turn).case_row for each in (case, replace(case, fixed_source=own))
    ]
    name = "dsc_off_frames_adapted"
    assert rows[0][name] == rows[1][name] == 1
    assert rows[0]["dsc_adapted"] == 1 and rows[1]["dsc_adapted"] < 0.9
    assert rows[0]["num_frames"] == 3


def test_the_row_counts_updates_seconds_losses_and_folds():
    """A constant field folds nowhere; its length is that of SHIFT, 5.27 mm."""
    row = scored(make_case("oblique")).case_row
    assert (row["case"], row["num_updates"], row["seconds"]) == ("case7", 2, 4.0)
    assert (row["seconds_per_update"], row["best_step"]) == (2.0, 1)
    assert row["loss_unadapted"] == pytest.approx(-0.1)
    assert row["loss_adapted"] == pytest.approx(-0.4)
    for stage in ("unadapted", "adapted"):
        assert row[f"folds_{stage}"] == 0
        assert row[f"jacobian_min_{stage}"] == pytest.approx(1, abs=1e-5)
    # sides of the fixed file: (0.8, 1.3, 2.5)
    length = np.sqrt(0.8**2 + 1.3**2 + 5.0**2)
    assert row["displacement_max_adapted_mm"] == pytest.approx(length, rel=1e-5)
    assert "folds_before" not in row and "folds_centroids" not in row


def test_full_volumes_and_unadapted_results_have_no_such_columns():
    """No frames, no seconds per update."""
    row = scored(make_case(), is_sparse=False, history=np.zeros((0, 5))).case_row
    absent = {"num_frames", "seconds_per_update", "best_step", "dsc_off_frames_adapted"}
    assert not absent & set(row)


def test_unlabelled_pairs_are_scored_by_their_fields_alone():
    """No Dice, no landmark, no baseline."""
    result = scored(without_labels(make_case()))
    row = result.case_row
    assert not [n for n in row if n.startswith(("dsc", "tre", "lost", "asd", "hd95"))]
    assert row["num_landmarks"] == 0
    assert not result.landmark_rows and not result.label_rows
    assert row["folds_adapted"] == 0


@pytest.mark.parametrize("labeled", [True, False])
def test_landmarks_from_files_are_scored_by_name(labeled):
    """
    Those that both images show: `left` is led to where it belongs, `right` is found
    (3, 0, 4) mm away. The others are left out.
    """
    case = make_case("oblique") if labeled else without_labels(make_case("oblique"))
    fixed, moving = PLACES["oblique"]
    places = np.array([[5.2, 6.1, 3.3], [4.0, 7.0, 2.5]])
    ends = apply(moving, places + OFFSET + SHIFT)
    landmarks = (
        Landmarks(("left", "only here", "right"), apply(fixed, places[[0, 0, 1]])),
        Landmarks(("right", "left"), [ends[1] + [3, 0, 4], ends[0]]),
    )
    result = scored(case, landmarks=landmarks)
    rows = {row["landmark"]: row for row in result.landmark_rows}
    assert list(rows) == [*(["cyst", "apex"] if labeled else []), "left", "right"]
    assert rows["left"]["tre_adapted_mm"] == pytest.approx(0, abs=1e-4)
    assert rows["right"]["tre_adapted_mm"] == pytest.approx(5, abs=1e-4)
    num = len(rows)
    assert result.case_row["num_landmarks"] == num
    rms = np.sqrt(25 / num)
    assert result.case_row["tre_adapted_mm"] == pytest.approx(rms, abs=1e-4)


def test_a_blob_that_is_lost_is_counted_and_left_out_of_the_average():
    """Led so far that only the gland's blob stays in the image; points stay scored."""
    field = np.zeros((*FIXED, 3), np.float32)
    field[...] = SHIFT + [6, 0, 0]  # blobs of radius 0.9 at 4 and 6 along axis 0
    result = scored(make_case("upright", spacing_mm=(1.5, 1, 1)), ddf=field)
    rows = {row["landmark"]: row for row in result.landmark_rows}
    assert rows["cyst"]["lost_adapted"] == 1
    assert rows["cyst"]["tre_blob_adapted_mm"] is None
    assert rows["cyst"]["tre_adapted_mm"] == pytest.approx(9, abs=1e-3)
    assert rows["apex"]["lost_adapted"] == 0
    # 6 voxels of 1.5, but that the edge of the image may cut the blob
    assert rows["apex"]["tre_blob_adapted_mm"] == pytest.approx(9, abs=0.8)
    row = result.case_row
    assert row["lost_adapted"] == 1 and row["lost_before"] == 0
    alone = rows["apex"]["tre_blob_adapted_mm"]
    assert row["tre_blob_adapted_mm"] == pytest.approx(alone)


def test_images_of_one_modality_are_compared_in_their_own_ranges():
    """
    The moving image is the fixed one, 3 times as bright, where the field leads to: the
    same but for what it does not cover, which counts as its darkest voxel.
    """
    case = make_case("upright")
    moving, labels = case.moving_source.read()
    start = (OFFSET + SHIFT).astype(int)
    box = tuple(slice(s, s + n) for s, n in zip(start, FIXED, strict=True))
    fixed = moving[box] * 3
    fixed.flat[[0, -1]] = 3 * moving.min(), 3 * moving.max()
    _, fixed_labels = case.fixed_source.read()
    own = Source("f", case.fixed_source.grid, lambda: (fixed, fixed_labels))
    row = scored(replace(case, fixed_source=own), scores_images=True).case_row
    scaled = (fixed / 3 - moving.min()) / np.ptp(moving)
    others = (shown(moving, OFFSET.astype(int)) - moving.min()) / np.ptp(moving)
    covered = (moving[box] - moving.min()) / np.ptp(moving)
    expected = {"before": others, "adapted": covered}
    for stage, warped in expected.items():
        mse = np.mean((scaled - warped) ** 2)
        ncc = np.corrcoef(scaled.ravel(), warped.ravel())[0, 1]
        assert row[f"mse_{stage}"] == pytest.approx(mse, rel=1e-3)
        assert row[f"ncc_{stage}"] == pytest.approx(ncc, abs=1e-4)
    assert row["lncc_adapted"] > 0.9 > row["lncc_before"]
    assert "mse_centroids" not in row
    assert "mse_before" not in scored(case).case_row


def test_what_the_moving_image_does_not_cover_counts_as_its_darkest_voxel():
    """Led out of the moving image by far, every voxel is 0 on its scale."""
    case = make_case("upright")
    field = np.full((*FIXED, 3), 90, np.float32)
    row = scored(case, ddf=field, scores_images=True).case_row
    image = case.fixed_source.read()[0]
    scaled = (image - image.min()) / np.ptp(image)
    assert row["mse_adapted"] == pytest.approx(np.mean(scaled**2), rel=1e-4)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_field_that_is_not_finite_has_scores_that_say_so(value):
    """A network that diverged; what does not depend on it is scored as ever."""
    field = np.full((*FIXED, 3), value, np.float32)
    result = scored(make_case(), ddf=field, scores_images=True)
    row = result.case_row
    assert row["dsc_adapted"] == 0
    assert not np.isfinite(row["tre_adapted_mm"])
    assert not np.isfinite(row["displacement_max_adapted_mm"])
    assert row["folds_adapted"] == 1
    assert 0 < row["dsc_before"] < row["dsc_unadapted"]
    assert np.isfinite(row["tre_unadapted_mm"]) and row["folds_unadapted"] == 0
