"""Tests of deepreg_meta/inspection/baseline.py; reference: the scores of a run."""

import numpy as np
import pytest
import tensorflow as tf

from deepreg_meta.dataset.phantom import write_dataset
from deepreg_meta.dataset.pipeline import task_arrays
from deepreg_meta.dataset.tasks import load_case_set
from deepreg_meta.inspection.baseline import Aligner, measure
from deepreg_meta.model.task import Task
from deepreg_meta.results.case import CaseResult
from deepreg_meta.results.scene import Scene
from deepreg_meta.results.score import score
from deepreg_meta.training import build_model
from tests.helpers import PHANTOM_FIXED_SHAPE, PHANTOM_MOVING_SHAPE, eager
from tests.unit.inspection.examples import SHIFT, SPACING, affine, change

SHAPES = dict(
    moving_image_shape=list(PHANTOM_MOVING_SHAPE),
    fixed_image_shape=list(PHANTOM_FIXED_SHAPE),
)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom") / "data"
    return write_dataset(
        folder, 2, 0, 1,
        moving_shape=PHANTOM_MOVING_SHAPE, fixed_shape=PHANTOM_FIXED_SHAPE,
    )  # fmt: skip


def scores_of_a_run(config, case):
    """:return: the row of metrics.csv of a pair registered by an untrained network."""
    with eager():
        model = build_model(config)
        arrays = task_arrays(case, len(case.moving_labels))
        task = Task(**{name: tf.constant(value) for name, value in arrays.items()})
        outputs = {k: v.numpy() for k, v in model.adapt(task, 0).items()}
    options = model.adapt_drawer.options
    result = CaseResult(
        case=case,
        outputs=outputs,
        seconds=1.0,
        frame_axis=options.frame_axis,
        is_sparse=options.frames is not None,
        scores_images=True,
    )
    score(Scene(result))
    return result.case_row


@pytest.mark.parametrize(
    ("align", "adapt"),
    [("sections", None), ("affine", {"frames": [2, 3]})],
)
def test_the_scores_are_those_of_a_run_before_its_network(
    phantom, configure, align, adapt
):
    """Of the initial alignment and of the centroids, from the frames of the sweep."""
    config = configure(phantom, align, adapt, **SHAPES)
    case = load_case_set(config, "test")[0]
    found = measure(Aligner(config).align(case)).scores
    row = scores_of_a_run(config, case)
    names = ["dsc_before", "dsc_centroids", "tre_before_mm", "tre_centroids_mm"]
    for name in [*names, "num_landmarks"]:
        assert found[name] == pytest.approx(row[name], abs=1e-6), name
    assert row["num_landmarks"] >= 2 and 0.3 < row["dsc_before"] < 1
    assert found["dsc_before"] != pytest.approx(found["dsc_centroids"], abs=1e-6)


def open_case(config):
    return load_case_set(config, "test")[0]


def test_centres_aligned_leave_the_shift_of_the_landmark(data, configure):
    """|(1, 0, 1) voxels of (1, 2, 1.5) mm| = 1.803 mm."""
    config = configure(data, "center")
    found = measure(Aligner(config).align(open_case(config)))
    expected = np.linalg.norm(SHIFT * SPACING)
    assert expected == pytest.approx(np.sqrt(3.25))
    assert found.scores["tre_before_mm"] == pytest.approx(expected, abs=1e-4)
    assert 0.3 < found.scores["dsc_before"] < found.scores["dsc_centroids"] <= 1
    assert found.scores["num_landmarks"] == 1
    # every fixed voxel lies in the moving grid, which is larger by one voxel
    assert found.overlap == 1


def test_the_centroid_in_the_frames_seen_leaves_nothing(data, configure):
    """All ten frames are seen, and landmark and gland moved alike."""
    config = configure(data, "centroid", {"frames": [2, 10]})
    found = measure(Aligner(config).align(open_case(config)))
    assert found.scores["tre_before_mm"] == pytest.approx(0, abs=1e-3)
    assert found.scores["dsc_before"] == pytest.approx(found.scores["dsc_centroids"])


def test_headers_that_lie_apart_leave_no_overlap_by_affine(data, configure):
    """By half of the grid a half; the labels then do not meet."""
    for kind in ("moving_images", "moving_labels"):
        far = affine((13, 11, 9), centre=(16.5, -20, 30))
        change(data / "test" / kind / "case0.nii.gz", affine=far)
    config = configure(data, "affine")
    found = measure(Aligner(config).align(open_case(config)))
    # fixed: 4.5 to 15.5; moving faces: 10 to 23
    assert found.overlap == pytest.approx(6 / 12)
    assert found.scores["dsc_before"] < 0.1 < found.scores["dsc_centroids"]
    config = configure(data, "center")
    assert measure(Aligner(config).align(open_case(config))).overlap == 1


def test_unlabeled_pairs_have_an_image_score_alone(data, configure):
    config = configure(data, labeled=False, labels=None)
    found = measure(Aligner(config).align(open_case(config)))
    assert list(found.scores) == ["ncc_before"]
    assert 0.3 < found.scores["ncc_before"] < 1
    assert found.fixed_label is None and found.moving_label is None


def test_deepregs_own_methods_lie_corner_on_corner(data, configure):
    """Voxel on voxel: half a voxel further off than centre on centre."""
    config = configure(data, "corner", method="ddf")
    assert not config.is_reptile
    found = measure(Aligner(config).align(open_case(config)))
    expected = np.linalg.norm((SHIFT + 0.5) * SPACING)
    assert found.scores["tre_before_mm"] == pytest.approx(expected, abs=1e-4)
