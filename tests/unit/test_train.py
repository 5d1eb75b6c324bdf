"""Tests of deepreg_meta/train.py."""

from pathlib import Path

import pytest

from deepreg_meta import command_line as cli
from deepreg_meta import train
from tests.helpers import run_config, write_yaml


def test_every_flag_of_deepregs_own_command_is_read():
    """Long and short names, as in `deepreg_train` of DeepReg 0.1.2."""
    parser = train.build_parser()
    long = parser.parse_args(
        [
            "--gpu",
            "0,1",
            "--gpu_allow_growth",
            "True",
            "--ckpt_path",
            "a/ckpt-3",
            "--log_root",
            "runs",
            "--log_dir",
            "one",
            "--config_path",
            "a.yaml",
            "b.yaml",
            "--max_epochs",
            "4",
        ]
    )
    short = parser.parse_args(
        [
            "-g",
            "0,1",
            "-gr",
            "True",
            "-k",
            "a/ckpt-3",
            "--log_root",
            "runs",
            "-l",
            "one",
            "-c",
            "a.yaml",
            "b.yaml",
            "--max_epochs",
            "4",
        ]
    )
    assert vars(long) == vars(short)
    assert vars(long) == {
        "gpu": "0,1", "gpu_allow_growth": True, "ckpt_path": "a/ckpt-3",
        "log_root": "runs", "log_dir": "one", "config_path": ["a.yaml", "b.yaml"],
        "max_epochs": 4, "fine_tune": False,
    }  # fmt: skip
    assert parser.parse_args(["-c", "a.yaml", "--fine-tune"]).fine_tune


def test_a_configuration_is_required(capsys):
    """Exit status 2, as argparse has it."""
    with pytest.raises(SystemExit) as end:
        train.main([])
    assert end.value.code == 2
    assert "--config" in capsys.readouterr().err


@pytest.fixture
def calls(monkeypatch):
    """:return: arguments of the training that would have started."""
    import deepreg.train

    import deepreg_meta.training

    found = {}

    def meta_train(config, ckpt_path, log_dir, log_root, fine_tune):
        found["reptile"] = (config, ckpt_path, log_dir, log_root, fine_tune)
        return Path(log_root) / log_dir

    monkeypatch.setattr(deepreg_meta.training, "meta_train", meta_train)
    monkeypatch.setattr(deepreg.train, "train", lambda **kw: found.update(deepreg=kw))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(cli, "prepare_tensorflow", lambda *args: None)
    return found


@pytest.mark.parametrize(("max_epochs", "epochs"), [(-1, 2), (0, 2), (5, 5)])
def test_max_epochs_replaces_the_epochs_if_positive(
    tmp_path, calls, max_epochs, epochs
):
    """-1 follows the configuration."""
    path = write_yaml(tmp_path / "run.yaml", run_config())
    folder = train.train(
        path,
        ckpt_path="c",
        log_dir="d",
        log_root="r",
        max_epochs=max_epochs,
        fine_tune=True,
    )
    config, *others = calls["reptile"]
    assert config.train.epochs == epochs
    assert others == ["c", "d", "r", True]
    assert folder == Path("r/d")


def deepreg_config(tmp_path: Path) -> dict:
    """:return: a run of DeepReg's method ddf, with folders that exist."""
    config = run_config()
    dataset, settings = config["dataset"], config["train"]
    for name in dataset["dir"]:
        for kind in ("moving", "fixed"):
            for what in ("images", "labels"):
                folder = tmp_path / name / f"{kind}_{what}"
                folder.mkdir(parents=True, exist_ok=True)
        dataset["dir"][name] = str(tmp_path / name)
    dataset.pop("phantom")
    config.pop("align")
    settings.pop("meta")
    settings["method"] = "ddf"
    settings["backbone"] = dict(
        name="local", num_channel_initial=1, extract_levels=[0, 1]
    )
    settings["loss"]["label"] = dict(name="dice", weight=1.0)
    settings["loss"]["image"] = dict(name="ssd", weight=0.1)
    settings["preprocess"] = dict(batch_size=1, shuffle_buffer_num_batch=1)
    return config


def test_methods_of_deepreg_are_handed_to_deepreg(tmp_path, calls, monkeypatch):
    """One merged file, without our keys, and the folder it will write to."""
    import yaml

    import deepreg_meta.train as module

    seen = {}
    original = cli.deepreg_config_file

    def spy(config):
        seen.update(config.deepreg_config())
        return original(config)

    monkeypatch.setattr(module.cli, "deepreg_config_file", spy)
    config = deepreg_config(tmp_path)
    config["adapt"] = {"steps": 3}
    path = write_yaml(tmp_path / "run.yaml", config)
    before = sorted(tmp_path.iterdir())
    folder = train.train(
        path, gpu=None, gpu_allow_growth=True, log_root="r", log_dir="d", max_epochs=4
    )
    assert folder == Path("r/d")
    found = calls["deepreg"]
    [passed] = found.pop("config_path")
    assert passed.endswith(".yaml") and not Path(passed).exists()
    assert found == {
        "gpu": "", "gpu_allow_growth": True, "ckpt_path": "", "log_dir": "d",
        "log_root": "r", "max_epochs": 4,
    }  # fmt: skip
    assert "adapt" not in seen and seen["train"]["method"] == "ddf"
    assert sorted(tmp_path.iterdir()) == before
    assert yaml.safe_load(Path(path).read_text()) == config


def test_a_method_of_deepreg_cannot_be_fine_tuned(tmp_path, calls):
    """DeepReg's own training restores optimisers and epochs too."""
    path = write_yaml(tmp_path / "run.yaml", deepreg_config(tmp_path))
    with pytest.raises(ValueError, match="--fine-tune: expected train.method reptile"):
        train.train(path, ckpt_path="c", log_root="r", log_dir="d", fine_tune=True)
    assert not calls


def test_folders_are_checked_before_deepreg_starts(tmp_path, calls):
    """DeepReg would make a run's folder and then fail with a traceback."""
    config = deepreg_config(tmp_path)
    config["dataset"]["dir"]["valid"] = str(tmp_path / "nowhere")
    path = write_yaml(tmp_path / "run.yaml", config)
    with pytest.raises(ValueError, match="dataset.dir.valid in run.yaml: expected an"):
        train.train(path, log_root="r", log_dir="d")
    assert not calls


@pytest.mark.parametrize("kind", ["png", "nifti"])
def test_a_method_of_deepreg_is_not_trained_on_2d_images(tmp_path, calls, kind):
    """Its warp multiplies by 0 along a singleton axis; of PNG it would know nothing."""
    config = deepreg_config(tmp_path)
    config["dataset"] |= dict(format=kind, labeled=False)
    for name in ("moving_image_shape", "fixed_image_shape"):
        config["dataset"][name] = [8, 9]
    path = write_yaml(tmp_path / "run.yaml", config)
    message = r"dataset.moving_image_shape in run.yaml: .* DeepReg's own .*\[8, 9, 1\]"
    with pytest.raises(ValueError, match=message):
        train.train(path, log_root="r", log_dir="d")
    assert not calls


def test_a_method_of_deepreg_without_a_folder_to_train_on_is_refused(tmp_path):
    raw = run_config()
    raw["train"]["method"] = "ddf"
    raw["train"].pop("meta", None)
    raw["dataset"]["dir"] = dict(train=None, valid=None, test=str(tmp_path))
    path = write_yaml(tmp_path / "run.yaml", raw)
    with pytest.raises(ValueError, match="dataset.dir.train in run.yaml: expected a f"):
        train.train([str(path)], gpu="", log_root=str(tmp_path / "logs"))
    assert not (tmp_path / "logs").exists()
