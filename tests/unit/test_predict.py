"""Tests of deepreg_meta/predict.py."""

from pathlib import Path

import pytest

from deepreg_meta import command_line as cli
from deepreg_meta import predict
from deepreg_meta.results.outputs import Outputs
from tests.helpers import run_config, write_yaml


def test_every_flag_of_deepregs_own_command_is_read():
    """Long and short names, as in `deepreg_predict` of DeepReg 0.1.2."""
    parser = predict.build_parser()
    long = parser.parse_args(
        [
            "--gpu",
            "0",
            "--gpu_allow_growth",
            "True",
            "--ckpt_path",
            "a/ckpt-3",
            "--mode",
            "valid",
            "--batch_size",
            "2",
            "--log_root",
            "runs",
            "--log_dir",
            "one",
            "--sample_label",
            "all",
            "--config_path",
            "a.yaml",
            "b.yaml",
            "--no_nifti",
            "--no_png",
        ]
    )
    short = parser.parse_args(
        [
            "-g",
            "0",
            "-gr",
            "True",
            "-k",
            "a/ckpt-3",
            "-m",
            "valid",
            "-b",
            "2",
            "--log_root",
            "runs",
            "-l",
            "one",
            "-s",
            "all",
            "-c",
            "a.yaml",
            "b.yaml",
            "--no_nifti",
            "--no_png",
        ]
    )
    assert vars(long) == vars(short)
    assert vars(long) == {
        "gpu": "0", "gpu_allow_growth": True, "ckpt_path": "a/ckpt-3",
        "mode": "valid", "batch_size": 2, "log_root": "runs", "log_dir": "one",
        "sample_label": "all", "config_path": ["a.yaml", "b.yaml"],
        "save_nifti": False, "save_png": False, "adapt_steps": None,
        "adapt_seconds": None, "transform_format": ["h5"], "inverse": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "nifti", "png"),
    [
        ([], True, None),
        (["--save_nifti", "--save_png"], True, True),
        (["--no_png"], True, False),
        (["--no_nifti"], False, None),
    ],
)
def test_files_are_written_unless_they_are_declined(words, nifti, png):
    """Whether figures are drawn depends on who predicts, if nobody says so."""
    parsed = predict.build_parser().parse_args(["-k", "a", "-m", "test", *words])
    assert (parsed.save_nifti, parsed.save_png) == (nifti, png)


@pytest.mark.parametrize("flag", ["--adapt-steps", "--adapt_steps"])
def test_the_number_of_steps_is_read(flag):
    """With a hyphen or an underscore."""
    parsed = predict.build_parser().parse_args(["-k", "a", "-m", "test", flag, "8"])
    assert parsed.adapt_steps == 8


@pytest.mark.parametrize("word", ["-1", "2.5", "many"])
def test_a_wrong_number_of_steps_is_refused(word, capsys):
    """Exit status 2, and the word."""
    with pytest.raises(SystemExit) as end:
        predict.main(["-k", "a", "-m", "test", "--adapt-steps", word])
    assert end.value.code == 2
    assert f"expected an integer >= 0, got '{word}'" in capsys.readouterr().err


def test_seconds_are_an_alternative_to_steps(capsys):
    """One of both."""
    words = ["-k", "a", "-m", "test", "--adapt-seconds", "1.5"]
    assert predict.build_parser().parse_args(words).adapt_seconds == 1.5
    with pytest.raises(SystemExit) as end:
        predict.main([*words, "--adapt-steps", "3"])
    assert end.value.code == 2
    assert "not allowed with argument --adapt-seconds" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["-m", "test"], ["-k", "a"], ["-k", "a", "-m", "x"]])
def test_checkpoint_and_mode_are_required(words):
    """train, valid or test."""
    with pytest.raises(SystemExit) as end:
        predict.main(words)
    assert end.value.code == 2


# ---- who predicts ----


@pytest.fixture
def run(tmp_path):
    """:return: folder of a run with two checkpoints (empty) and a configuration."""
    folder = tmp_path / "run"
    (folder / "save").mkdir(parents=True)
    for number in (2, 10):
        (folder / "save" / f"ckpt-{number}.index").touch()
    write_yaml(folder / "config.yaml", run_config())
    return folder


@pytest.fixture
def calls(monkeypatch):
    """:return: arguments of the prediction that would have started."""
    import deepreg.predict

    import deepreg_meta.config
    import deepreg_meta.prediction

    found = {}

    def adapt_and_predict(*args):
        found["ours"] = args
        return args[3]

    monkeypatch.setattr(deepreg_meta.prediction, "adapt_and_predict", adapt_and_predict)
    monkeypatch.setattr(
        deepreg.predict, "predict", lambda **kw: found.update(deepreg=kw)
    )
    monkeypatch.setattr(deepreg_meta.config, "check_paths", lambda *args: None)
    monkeypatch.setattr(cli, "prepare_tensorflow", lambda *args: None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return found


def test_a_folder_stands_for_its_newest_checkpoint_and_configuration(run, calls):
    """10 comes after 2; the steps of the command line win."""
    folder = predict.predict(str(run), "test", adapt_steps=4, log_root="r", log_dir="d")
    config, checkpoint, *others = calls["ours"]
    assert config.adapt.steps == 4
    assert checkpoint == str(run / "save" / "ckpt-10")
    assert others == ["test", Path("r/d/test"), Outputs(), None]
    assert folder == Path("r/d/test")


def test_without_steps_the_configuration_decides(run, calls):
    """`adapt.steps`, here of a file given instead of the one saved with the run."""
    config = run_config()
    config["adapt"] = {"steps": 3}
    path = write_yaml(run / "other.yaml", config)
    predict.predict(str(run), "valid", config_path=[path])
    config, _, mode, *_ = calls["ours"]
    assert (config.adapt.steps, mode) == (3, "valid")
    predict.predict(str(run), "valid", adapt_steps=0, config_path=[path])
    assert calls["ours"][0].adapt.steps == 0


def test_time_and_outputs_of_the_command_line_are_handed_on(run, calls):
    """No figure; the inverse beside two transforms."""
    words = ["-k", str(run), "-m", "test", "--adapt-seconds", "2.5", "--no_png"]
    words += ["--transform-format", "nifti", "learn2reg", "--inverse"]
    assert predict.main(words) == 0
    *_, outputs, seconds = calls["ours"]
    assert seconds == 2.5
    assert outputs == Outputs(True, ("nifti", "learn2reg"), inverse=True, figure=False)
    assert predict.main(["-k", str(run), "-m", "test", "--no_nifti"]) == 0
    *_, outputs, seconds = calls["ours"]
    assert seconds is None
    assert outputs == Outputs(volumes=False, formats=())


def to_deepreg(run: Path, augmentation: dict | None = None) -> None:
    """Turn a run into one of DeepReg's method ddf."""
    config = run_config()
    config.pop("align")
    config["train"].pop("meta")
    config["train"]["method"] = "ddf"
    config["train"]["preprocess"] = dict(batch_size=1, shuffle_buffer_num_batch=1)
    if augmentation is not None:
        config["train"]["preprocess"]["data_augmentation"] = augmentation
    write_yaml(run / "config.yaml", config)


@pytest.mark.parametrize(
    ("words", "png"), [([], False), (["--save_png"], True), (["--no_png"], False)]
)
def test_deepregs_own_prediction_draws_on_request(run, calls, words, png):
    to_deepreg(run)
    assert predict.main(["-k", str(run), "-m", "test", *words]) == 0
    assert calls["deepreg"]["save_png"] is png
    assert calls["deepreg"]["save_nifti"] is True


@pytest.mark.parametrize("growth", [True, False])
def test_deepregs_own_prediction_is_asked_with_its_meaning_of_growth(
    run, calls, growth
):
    """It inverts gpu_allow_growth, and draws no figure unless asked."""
    to_deepreg(run)
    folder = predict.predict(
        str(run), "test", gpu_allow_growth=growth, batch_size=2,
        log_root="r", log_dir="d", outputs=Outputs(volumes=False),
    )  # fmt: skip
    found = calls["deepreg"]
    assert Path(found.pop("config_path")[0]).suffix == ".yaml"
    assert found == {
        "gpu": "", "gpu_allow_growth": not growth, "batch_size": 2, "mode": "test",
        "ckpt_path": str(run / "save" / "ckpt-10"), "sample_label": "all",
        "log_dir": "d", "log_root": "r", "save_nifti": False, "save_png": False,
    }  # fmt: skip
    assert folder == Path("r/d/test")


def test_deepregs_own_prediction_deletes_no_results_of_others(run, calls, tmp_path):
    """It empties `test` of its folder, whatever split it predicts."""
    to_deepreg(run)
    root = dict(log_root=str(tmp_path), log_dir="d")
    folder = tmp_path / "d" / "test"
    folder.mkdir(parents=True)
    predict.predict(str(run), "valid", **root)  # nothing there
    (folder / "pair_1").mkdir()
    predict.predict(str(run), "test", **root)  # its own results of before
    calls.clear()
    with pytest.raises(ValueError, match="--log_dir: .*d/test holds results"):
        predict.predict(str(run), "valid", **root)
    (folder / "metrics.csv").touch()
    with pytest.raises(ValueError, match="--log_dir: .*d/test holds results"):
        predict.predict(str(run), "test", **root)
    assert not calls and (folder / "pair_1").is_dir()


@pytest.mark.parametrize("steps", [0, 1])
def test_that_deepregs_own_prediction_shows_no_frames_is_told(
    run, calls, caplog, steps
):
    """A comparison on sparse frames would be one on whole volumes."""
    to_deepreg(run, dict(name="sparse_frames", frames=[2, 5], axis=1))
    predict.predict(str(run), "test", adapt_steps=steps)
    assert ("deepreg" in calls) is (steps == 0)
    assert ("the whole fixed image" in caplog.text) is (steps == 0)


def test_a_model_of_deepreg_is_adapted_by_us(run, calls):
    """As soon as there is a step to take, or time for one."""
    to_deepreg(run)
    for options in ({"adapt_steps": 1}, {"adapt_seconds": 1.0}):
        calls.clear()
        predict.predict(str(run), "test", **options)
        assert "deepreg" not in calls
        assert calls["ours"][0].method == "ddf"


def test_a_missing_checkpoint_is_told_before_tensorflow_is_imported(tmp_path, caplog):
    """Exit status 2."""
    assert predict.main(["-k", str(tmp_path / "none"), "-m", "test"]) == 2
    assert "--ckpt_path: expected a checkpoint such as" in caplog.text
