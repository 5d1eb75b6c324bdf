"""
deepreg_meta.evaluate.protocol.learn2reg equals the challenge's own scorer.

The numbers were made by running the scorer itself (github.com/MDL-UzL/L2R,
evaluation/L2RTest/evaluation.py at commit 00106df with evaluation/utils.py at commit
8847509) on the files of `challenge_data.write_data`, with surface-distance 0.1, NumPy
1.26, SciPy 1.17 and nibabel 5.4.
"""

import json
import math

import nibabel as nib
import numpy as np
import pytest

from deepreg_meta.evaluate.protocol import learn2reg
from deepreg_meta.evaluate.protocol.challenge import read_challenge
from tests.unit.evaluate.protocol.challenge_data import (
    SHAPE,
    displacement,
    voxels,
    write_data,
)

INF, NAN = math.inf, math.nan
MEANS = {
    "0001_0000<--0001_0001": {
        "LogJacDetStd": 0.14708388196629615,
        "num_foldings": 0.0,
        "TRE_kp": 1.0144748495751246,
        "TRE_lm": 1.1304990258649619,
        "DSC": 0.3503184713375796,
        "HD95": INF,
    },
    "0002_0000<--0001_0000": {
        "LogJacDetStd": 0.19202718493096457,
        "num_foldings": 0.0,
        "TRE_kp": 0.8180089608380092,
        "TRE_lm": 0.8226902921483292,
        "DSC": 0.38609980401025173,
        "HD95": 1.7154214566473243,
    },
    "0003_0001<--0001_0000": {
        "LogJacDetStd": 4.6780239027541874,
        "num_foldings": 0.0,
        "TRE_kp": 2.407043908881542,
        "TRE_lm": 2.599892408500563,
        "DSC": 0.10687960687960689,
        "HD95": 2.630974075664057,
    },
}
LABELS = {
    "0001_0000<--0001_0001": ([0.7006369426751592, 0.0, NAN], [1.0, INF, NAN]),
    "0002_0000<--0001_0000": (
        [0.5522388059701493, 0.24242424242424243, 0.36363636363636365],
        [1.7320508075688772, 1.4142135623730951, 2.0],
    ),
    "0003_0001<--0001_0000": (
        [0.22972972972972974, 0.0, 0.09090909090909091],
        [2.8284271247461903, 2.8284271247461903, 2.23606797749979],
    ),
}
LANDMARKS = {  # TRE_kp and TRE_lm
    "0001_0000<--0001_0001": (
        [
            1.6282163870837965,
            0.4148978752169647,
            1.5998872607827743,
            0.4148978752169627,
        ],
        [
            1.5391664647761107,
            0.9814240674613094,
            1.5865076960054643,
            0.4148978752169629,
        ],
    ),
    "0002_0000<--0001_0000": (
        [
            0.8684634974266255,
            0.8241965715651525,
            0.7551792027951074,
            0.8241965715651515,
        ],
        [
            0.8301743661756489,
            0.8241965715651522,
            0.8121936592873644,
            0.8241965715651516,
        ],
    ),
    "0003_0001<--0001_0000": (
        [4.1507776105884755, 1.236294857347727, 3.004808310242237, 1.2362948573477277],
        [4.242554711801043, 1.236294857347727, 3.6844252075057526, 1.2362948573477275],
    ),
}
AGGREGATES = {  # mean, std, quantile of 0.3
    "LogJacDetStd": (1.6723783232171494, 2.1253915697996684, 0.1740498637450972),
    "num_foldings": (0.0, 0.0, 0.0),
    "TRE_kp": (1.4131759064315588, 0.7073329796165104, 0.9358884940802784),
    "TRE_lm": (1.5176939088379513, 0.7754790986403458, 1.007375532378309),
    "DSC": (0.28109929407581274, 0.12405496227349115, 0.2529429255543905),
    "HD95": (INF, NAN, 2.264753028057364),
}
# of the configuration with "masked_evaluation": false
UNMASKED = (0.13474851674106242, 0.19202718493096457, 4.77385359161096)


@pytest.fixture
def data(tmp_path):
    """Files, and the pairs of a JSON file among them."""
    paths = write_data(tmp_path)

    def read(name="config", **given):
        path = paths[name == "dataset"]
        return read_challenge(path, tmp_path, tmp_path / "fields", **given)

    return read


def score_all(pairs):
    return [learn2reg.score(pair, pairs) for pair in pairs.pairs]


def close(expected):
    return pytest.approx(expected, rel=1e-12, nan_ok=True)


def test_every_figure_of_every_case_is_that_of_the_scorer(data):
    scores = score_all(data())
    assert [own.case["case"] for own in scores] == list(MEANS)
    for own in scores:
        expected = {"case": own.case["case"], **MEANS[own.case["case"]]}
        assert list(own.case) == list(expected)  # in the scorer's order
        for name in MEANS[own.case["case"]]:
            assert own.case[name] == close(expected[name])


def test_every_structure_and_landmark_has_the_figure_of_the_scorer(data):
    for own in score_all(data()):
        dice, hd95 = LABELS[own.case["case"]]
        assert [row["label"] for row in own.labels] == [1, 2, 3]
        assert [row["DSC"] for row in own.labels] == close(dice)
        assert [row["HD95"] for row in own.labels] == close(hd95)
        for name, expected in zip(
            ("TRE_kp", "TRE_lm"), LANDMARKS[own.case["case"]], strict=True
        ):
            found = [row[name] for row in own.landmarks if name in row]
            assert found == close(expected)


def test_the_figures_of_the_data_set_are_those_of_the_scorer(data):
    table = learn2reg.aggregate([own.case for own in score_all(data())])
    assert [row["metric"] for row in table] == list(AGGREGATES)
    for row in table:
        found = row["mean"], row["std"], row["quantile_30"]
        assert found == close(AGGREGATES[row["metric"]])
        assert row["n"] == 3


def test_a_data_set_is_scored_as_its_configuration_but_for_the_masks(data):
    scores = score_all(data("dataset"))
    for own, deviation in zip(scores, UNMASKED, strict=True):
        expected = MEANS[own.case["case"]] | {"LogJacDetStd": deviation}
        for name, value in expected.items():
            assert own.case[name] == close(value)
    masked = score_all(data("dataset", masked=True))
    name = "LogJacDetStd"
    found = [own.case[name] for own in masked]
    assert found == close([figures[name] for figures in MEANS.values()])


def test_a_mask_that_is_missing_is_told(data, caplog):
    score_all(data())
    assert caplog.text.count("no mask") == 1 and "Tiny_0002_0000" in caplog.text


def test_labels_can_be_chosen(data):
    own = score_all(data("dataset", labels=(3,)))[1]
    dice, hd95 = (values[2] for values in LABELS[own.case["case"]])
    assert (own.case["DSC"], own.case["HD95"]) == (close(dice), close(hd95))
    assert [row["label"] for row in own.labels] == [3]


def test_the_deviation_is_that_of_the_logarithm_of_the_determinant_plus_3():
    # determinants are 1 + slope of u_x: 1 up to voxel 5, (0 - 5) / 2 at 6, then -6
    field = np.zeros((13, 10, 11, 3))
    field[..., 0] = np.array([*range(7), *range(0, -36, -6)])[:, None, None]
    determinants = np.array([2, 2, 2, 2, -1.5, -5, -5, -5, -5])  # of voxels 2 to 10
    expected = np.log(np.maximum(determinants + 3, 1e-9)).std()
    deviation, num_foldings = learn2reg.log_jacobian(field)
    assert deviation == pytest.approx(expected) and num_foldings == 0
    swapped = np.moveaxis(field, 0, 2)[..., [2, 1, 0]]
    assert learn2reg.log_jacobian(swapped)[0] == pytest.approx(expected)


def test_a_field_too_small_for_the_crop_has_no_deviation():
    assert math.isnan(learn2reg.log_jacobian(np.zeros((5, 4, 9, 3)))[0])


def test_whole_voxel_shifts_move_labels_and_leave_background_behind():
    label = voxels()[..., 0] + 1
    field = np.zeros((*SHAPE, 3))
    field[..., 0] = 2
    warped = learn2reg.warp_label(label, field)
    np.testing.assert_array_equal(warped[:-2], label[2:])
    assert not warped[-2:].any()
    field[...] = (0, 0, -0.1)  # half a voxel short of the border is beyond it here
    assert not learn2reg.warp_label(label, field)[..., 0].any()


def test_a_file_that_does_not_fit_is_told_before_scoring(data, tmp_path):
    pairs = data()
    assert not any(learn2reg.check(pair, pairs) for pair in pairs.pairs)
    field = displacement(1)
    field[0, 0, 0, 0] = np.nan
    np.savez(tmp_path / "fields" / "disp_0002_0001.npz", field[:, :, :-1])
    label = nib.Nifti1Image(np.zeros((*SHAPE, 2), np.uint8), np.eye(4))
    nib.save(label, tmp_path / "labelsTr" / "Tiny_0001_0000.nii.gz")
    problems = learn2reg.check(pairs.pairs[1], pairs)
    assert len(problems) == 4
    assert "expected shape (9, 10, 11, 3), got (9, 10, 10, 3)" in problems[0]
    assert "expected finite displacements" in problems[1]
    assert "Tiny_0002_0000.nii.gz: expected a label on the grid" in problems[2]
    assert "got shape (9, 10, 11, 2)" in problems[3]


def test_damaged_files_are_named(data, tmp_path):
    pairs = data()
    pair = pairs.pairs[0]
    path = pair.labels[0]
    whole = path.read_bytes()
    path.write_bytes(b"no image")
    with pytest.raises(ValueError, match=f"{path.name}: cannot be read"):
        learn2reg.check(pair, pairs)
    path.write_bytes(whole[:-20])
    with pytest.raises(ValueError, match=f"{path.name}: cannot be read"):
        learn2reg.read_label(path)


def test_the_shape_is_that_of_the_challenge_else_of_the_image(data, tmp_path):
    path = tmp_path / "Tiny_dataset.json"
    content = json.loads(path.read_text())
    for stated, number in (({"0": [9, 10, 12]}, 1), (None, 0)):
        content["tensorImageShape"] = stated
        path.write_text(json.dumps(content))
        pairs = data("dataset")
        problems = learn2reg.check(pairs.pairs[0], pairs)
        assert len(problems) == number
