"""Tests of the demo's first step: which folders it finds, and how it names them."""

import pytest
import yaml

from deepreg_meta.config import load_config

KINDS = ("moving_images", "fixed_images", "moving_labels", "fixed_labels")


@pytest.fixture
def demo(load_demo, monkeypatch, tmp_path):
    """Return the module, its data folder moved away from the source tree."""
    module = load_demo("meta_trus", "demo_data")
    monkeypatch.setattr(module, "DATASET", tmp_path / "dataset")
    return module


def make_folder(root, **counts):
    """Write empty files in DeepReg's layout."""
    for split, count in counts.items():
        for kind in KINDS:
            (root / split / kind).mkdir(parents=True)
            for i in range(count):
                (root / split / kind / f"case{i:06d}.nii.gz").touch()
    return root


def test_files_at_hand_are_named_where_they_are(demo, tmp_path):
    folder = make_folder(tmp_path / "mr_trus", train=2, valid=1)
    path = demo.prepare("real", str(folder))
    written = yaml.safe_load(path.read_text())["dataset"]["dir"]
    # no test folder: the valid cases are tested on
    valid = str(folder / "valid")
    assert written == {"train": str(folder / "train"), "valid": valid, "test": valid}
    assert [p.name for p in path.parent.iterdir()] == ["real.yaml"]


def test_a_test_folder_is_used_and_validation_may_lack(demo, tmp_path):
    folder = make_folder(tmp_path / "mr_trus", train=2, test=1)
    splits = demo.find_splits(folder)
    assert splits["test"] == str(folder / "test")
    assert splits["valid"] is None


def test_the_files_of_a_real_run_merge_to_its_configuration(demo, tmp_path):
    folder = make_folder(tmp_path / "mr_trus", train=2, valid=1)
    demo.prepare("real", str(folder))
    dataset = load_config(demo.config_files("real")).dataset
    assert dataset.folders("test") == (str(folder / "valid"),)
    assert dataset.moving_image_shape == (64, 64, 60)
    assert dataset.spacing_mm.fixed == (1, 1, 1)


def test_a_phantom_run_names_the_folder_that_was_generated(demo, monkeypatch):
    calls = []
    monkeypatch.setattr(
        demo.phantom,
        "write_dataset",
        lambda *args, **kwargs: calls.append((args, kwargs)),
    )
    demo.prepare("phantom")
    config = load_config(demo.config_files("phantom"))
    options = config.dataset.phantom
    (args, kwargs), folder = calls[0], demo.DATASET / "phantom"
    assert args == (folder, options.num_train, options.num_valid, options.num_test)
    assert kwargs["fixed_shape"] == config.dataset.fixed_image_shape
    assert config.dataset.folders("test") == (str(folder / "test"),)
    assert not config.uses_phantom


def test_the_phantom_of_an_earlier_configuration_is_replaced(demo, monkeypatch):
    folder = demo.DATASET / "phantom"
    folder.mkdir(parents=True)
    (folder / "phantom.json").write_text("{}")
    (folder / "old.txt").touch()

    def write(path, *args, **kwargs):
        if path.exists():
            raise ValueError("another phantom")
        path.mkdir()

    monkeypatch.setattr(demo.phantom, "write_dataset", write)
    demo.make_phantom(folder)
    assert not list(folder.iterdir())


def test_a_folder_with_other_content_is_left_alone(demo, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    with pytest.raises(ValueError, match="expected a new or empty folder"):
        demo.make_phantom(tmp_path / "mine")
    assert (tmp_path / "mine" / "notes.txt").exists()


@pytest.mark.parametrize("splits", [{}, {"train": 1}, {"valid": 1, "test": 1}])
def test_a_folder_without_train_and_another_split_is_refused(demo, tmp_path, splits):
    folder = make_folder(tmp_path / "empty", **splits)
    with pytest.raises(FileNotFoundError, match="train and with valid or test"):
        demo.find_splits(folder)


def test_a_missing_kind_is_named_with_its_folder(demo, tmp_path):
    folder = make_folder(tmp_path / "mr_trus", train=1, valid=1)
    (folder / "valid" / "fixed_labels" / "case000000.nii.gz").unlink()
    (folder / "valid" / "fixed_labels").rmdir()
    with pytest.raises(ValueError, match=r"dataset.dir.valid .*expected fixed_labels"):
        demo.find_splits(folder)


def test_a_file_without_partner_is_named(demo, tmp_path):
    folder = make_folder(tmp_path / "mr_trus", train=2, valid=1)
    (folder / "train" / "moving_labels" / "case000001.nii.gz").unlink()
    with pytest.raises(ValueError, match=r"train: .*case000001.nii.gz without partner"):
        demo.find_splits(folder)


def test_from_with_the_phantom_is_refused_with_status_2(demo, tmp_path, caplog):
    assert demo.main(["--from", str(tmp_path)]) == 2
    assert "expected --source real" in caplog.text


def test_training_before_the_data_says_what_to_run(demo):
    with pytest.raises(FileNotFoundError, match=r"demo_data.py --source real` first"):
        demo.config_files("real")
