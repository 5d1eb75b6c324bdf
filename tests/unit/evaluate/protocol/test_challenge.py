"""Values and errors of deepreg_meta.evaluate.protocol.challenge."""

import json

import pytest

from deepreg_meta.evaluate.protocol.challenge import read_challenge
from deepreg_meta.evaluate.protocol.pairs import Method
from tests.unit.evaluate.protocol.challenge_data import SHAPE, write_data


@pytest.fixture
def files(tmp_path):
    return (tmp_path, *write_data(tmp_path))


def test_a_data_set_gives_the_files_that_lie_beside_its_images(files):
    folder, _, dataset = files
    pairs = read_challenge(dataset, folder, folder / "fields")
    assert (pairs.name, pairs.shape) == ("Tiny", (*SHAPE, 3))
    first, _, last = pairs.pairs
    assert first.name == "0001_0000<--0001_0001"
    names = "Tiny_0001_0000.nii.gz", "Tiny_0001_0001.nii.gz"
    assert first.labels == tuple(folder / "labelsTr" / name for name in names)
    assert set(first.points) == {"keypoints", "landmarks"} and first.mask is None
    # modalities 1 and 0 have points of their own
    assert [path.parent.name for path in last.points["keypoints"]] == [
        "keypoints01Tr"
    ] * 2
    assert [path.parent.name for path in last.points["landmarks"]] == [
        "landmarksTr"
    ] * 2
    assert last.field_file.name == "disp_0003_0001_0001_0000.nii.gz"
    assert not any(pair.missing() for pair in pairs.pairs)
    assert [method.name for method in pairs.methods] == [
        "LogJacDetStd",
        "TRE_kp",
        "TRE_lm",
        "DSC",
        "HD95",
    ]


def test_a_configuration_states_metrics_labels_shape_and_masks(files):
    folder, config, _ = files
    pairs = read_challenge(config, folder, folder / "fields")
    assert pairs.shape == (*SHAPE, 3)
    assert pairs.methods[3] == Method("DSC", "dice", (1, 2, 3))
    assert pairs.methods[1] == Method("TRE_kp", "tre", points="keypoints")
    assert pairs.pairs[0].mask == folder / "masksTr" / "Tiny_0001_0000.nii.gz"
    chosen = read_challenge(config, folder, folder, labels=(2,))
    assert chosen.methods[3].labels == (2,)


def test_files_that_a_configuration_needs_are_missed_and_others_are_not(files):
    folder, config, dataset = files
    (folder / "labelsTr" / "Tiny_0001_0001.nii.gz").unlink()
    (folder / "landmarksTr" / "Tiny_0001_0001.csv").unlink()
    for path in (config, dataset):  # one half of a pair is always missed
        pairs = read_challenge(path, folder, folder / "fields")
        assert len(pairs.pairs[0].missing()) == 2
    (folder / "labelsTr" / "Tiny_0001_0000.nii.gz").unlink()
    (folder / "landmarksTr" / "Tiny_0001_0000.csv").unlink()
    pairs = read_challenge(dataset, folder, folder / "fields")
    assert not pairs.pairs[0].missing() and pairs.pairs[0].labels is None
    pairs = read_challenge(config, folder, folder / "fields")
    assert len(pairs.pairs[0].missing()) == 4


def test_the_split_is_chosen_or_the_one_that_is_there(files):
    folder, _, path = files
    content = json.loads(path.read_text())
    assert len(read_challenge(path, folder, folder).pairs) == 3
    assert len(read_challenge(path, folder, folder, split="test").pairs) == 1
    del content["registration_val"]
    path.write_text(json.dumps(content))
    assert len(read_challenge(path, folder, folder).pairs) == 1
    with pytest.raises(ValueError, match="pairs in registration_val, or eval_pairs"):
        read_challenge(path, folder, folder, split="val")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"evaluation_methods": {"dice": [1]}}, "list of metrics out of sdlogj, dice"),
        ({"evaluation_methods": [{"metric": "dsc"}]}, "got .*'metric': 'dsc'"),
        (
            {"eval_pairs": [{"fixed": "a.nii.gz", "moving": "b.nii.gz"}]},
            "such as LungCT",
        ),
    ],
)
def test_configurations_of_another_form_are_refused(files, change, message):
    folder, config, _ = files
    config.write_text(json.dumps(json.loads(config.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        read_challenge(config, folder, folder)


def test_files_that_are_no_json_object_are_refused(tmp_path):
    path = tmp_path / "a.json"
    for text, message in (("{", "cannot be read as JSON"), ("[]", "a JSON object")):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_challenge(path, tmp_path, tmp_path)
