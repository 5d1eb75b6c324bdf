"""Tests of deepreg_meta/command_line.py."""

import argparse
import os
import re
import sys
from pathlib import Path

import pytest
import yaml

from deepreg_meta import __version__
from deepreg_meta import command_line as cli
from deepreg_meta.results.outputs import Outputs


@pytest.mark.parametrize("word", ["1", "true", "True", "yes", "on", ""])
def test_words_for_true(word):
    """Upper and lower case."""
    assert cli.parse_bool(word) is True


@pytest.mark.parametrize("word", ["0", "false", "False", "NO", "off"])
def test_words_for_false(word):
    """DeepReg takes them all for true."""
    assert cli.parse_bool(word) is False


def test_other_words_are_refused():
    """With the word."""
    with pytest.raises(argparse.ArgumentTypeError, match="true or false, got 'maybe'"):
        cli.parse_bool("maybe")


@pytest.fixture
def parser():
    """:return: a parser with the common arguments."""
    parser = cli.new_parser("deepreg_test", "Does nothing.", "example: none")
    cli.add_common_arguments(parser, config_required=True)
    return parser


@pytest.mark.parametrize("flag", ["--config", "--config_path", "-c"])
def test_files_may_be_several_under_all_three_names(parser, flag):
    """In their order."""
    assert parser.parse_args([flag, "b.yaml", "a.yaml"]).config_path == [
        "b.yaml",
        "a.yaml",
    ]


@pytest.mark.parametrize(
    ("words", "growth"),
    [
        ([], False),
        (["--gpu_allow_growth"], True),
        (["-gr", "True"], True),
        (["-gr", "False"], False),
        (["--gpu_allow_growth", "0"], False),
    ],
)
def test_allow_growth_is_a_switch_or_takes_a_word(parser, words, growth):
    """DeepReg's form, with a word after it, keeps working, and means what it says."""
    parsed = parser.parse_args(["-c", "a.yaml", *words])
    assert parsed.gpu_allow_growth is growth


def test_the_defaults_are_deepregs_but_for_the_gpu(parser):
    """None is all visible GPUs."""
    parsed = vars(parser.parse_args(["-c", "a.yaml"]))
    assert parsed == {
        "config_path": ["a.yaml"], "gpu": None, "gpu_allow_growth": False,
        "log_root": "logs", "log_dir": "",
    }  # fmt: skip
    parsed = parser.parse_args(["-c", "a.yaml", "-g", "", "-l", "run"])
    assert (parsed.gpu, parsed.log_dir) == ("", "run")


def test_the_version_names_the_package(parser, capsys):
    """Exit status 0."""
    with pytest.raises(SystemExit) as end:
        parser.parse_args(["--version"])
    assert end.value.code == 0
    assert f"deepreg_test of deepreg_meta {__version__}" in capsys.readouterr().out


@pytest.mark.parametrize("word", ["-1", "2.5", "many", ""])
def test_steps_are_whole_and_not_negative(word):
    """With the word."""
    assert cli.read_steps("0") == 0 and cli.read_steps("12") == 12
    with pytest.raises(argparse.ArgumentTypeError, match=f">= 0, got '{word}'"):
        cli.read_steps(word)


@pytest.mark.parametrize("word", ["0", "-1.5", "inf", "nan", "soon"])
def test_seconds_are_finite_and_more_than_none(word):
    """With the word."""
    assert cli.read_seconds("2") == 2.0 and cli.read_seconds("1e-3") == 0.001
    with pytest.raises(argparse.ArgumentTypeError, match=f"> 0, got '{word}'"):
        cli.read_seconds(word)


@pytest.fixture
def pair_parser():
    """:return: a parser with what adapts and what is written."""
    parser = cli.new_parser("deepreg_test", "Does nothing.", "example: none")
    cli.add_adapt_arguments(parser)
    cli.add_output_arguments(parser)
    return parser


@pytest.mark.parametrize(
    ("words", "steps", "seconds"),
    [
        ([], None, None),
        (["--adapt-steps", "8"], 8, None),
        (["--adapt_steps", "0"], 0, None),
        (["--adapt-seconds", "2.5"], None, 2.5),
        (["--adapt_seconds", "2"], None, 2.0),
    ],
)
def test_steps_or_seconds_of_adaptation_are_read(pair_parser, words, steps, seconds):
    """With a hyphen or an underscore; None follows the configuration."""
    parsed = pair_parser.parse_args(words)
    assert (parsed.adapt_steps, parsed.adapt_seconds) == (steps, seconds)


def test_steps_and_seconds_exclude_each_other(pair_parser, capsys):
    with pytest.raises(SystemExit) as end:
        pair_parser.parse_args(["--adapt-seconds", "2", "--adapt-steps", "1"])
    assert end.value.code == 2
    assert "not allowed with argument" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], Outputs()),
        (["--no_nifti"], Outputs(volumes=False, formats=())),
        (["--no_png"], Outputs(figure=False)),
        (["--inverse"], Outputs(inverse=True)),
        (
            ["--transform-format", "deepreg", "h5"],
            Outputs(formats=("deepreg", "h5")),
        ),
        (["--transform_format", "learn2reg"], Outputs(formats=("learn2reg",))),
        (["--no_png", "--save_png", "--save_nifti"], Outputs()),
    ],
)
def test_what_is_written_of_a_pair_is_read(pair_parser, words, expected):
    assert cli.read_outputs(pair_parser.parse_args(words)) == expected


def test_figures_are_drawn_where_nobody_speaks_of_them(pair_parser):
    """`deepreg_predict` sets None for that."""
    pair_parser.set_defaults(save_png=None)
    assert cli.read_outputs(pair_parser.parse_args([])).figure
    assert not cli.read_outputs(pair_parser.parse_args(["--no_png"])).figure


def test_every_missing_file_is_named_with_its_flag(tmp_path, monkeypatch):
    """A folder is no file; ~ is the home folder; None and no files pass."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "here.nii").touch()
    (tmp_path / "folder").mkdir()
    here = {
        "--a": "~/here.nii",
        "--b": [f"{tmp_path}/here.nii"],
        "--c": None,
        "--d": (),
    }
    cli.check_files(here)
    with pytest.raises(FileNotFoundError) as found:
        cli.check_files(
            {**here, "--e": ["~/here.nii", "no1"], "--f": f"{tmp_path}/folder"}
        )
    assert str(found.value).splitlines() == [
        "--e: expected a file, found none: no1",
        f"--f: expected a file, found none: {tmp_path}/folder",
    ]


# ---- running ----


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("train.epochs: expected more"), 2),
        (FileNotFoundError("no such file"), 2),
        (ImportError("DeepReg: expected 0.1.2"), 2),
        (KeyboardInterrupt(), 130),
    ],
)
def test_what_the_user_gave_ends_in_one_message_and_a_status(caplog, error, status):
    """No traceback; an interruption says how to go on."""

    def call():
        raise error

    assert cli.run(call, "Done: {}", "Continue.") == status
    [record] = [r for r in caplog.records if r.name == cli.logger.name]
    assert record.levelname == "ERROR" and record.exc_info is None
    expected = str(error) or "Interrupted. Continue."
    assert record.getMessage().startswith(expected)


def test_faults_of_our_own_keep_their_traceback():
    """They are no user's errors."""
    with pytest.raises(RuntimeError, match="weights changed"):
        cli.run(lambda: (_ for _ in ()).throw(RuntimeError("weights changed")), "{}")


def test_debugging_keeps_every_traceback(monkeypatch):
    """With DEEPREG_META_DEBUG set."""
    monkeypatch.setenv("DEEPREG_META_DEBUG", "1")
    with pytest.raises(ValueError, match="rule"):
        cli.run(lambda: (_ for _ in ()).throw(ValueError("rule")), "{}")


def test_the_last_line_tells_where_the_results_are(caplog):
    """Exit status 0."""
    with caplog.at_level("INFO"):
        assert cli.run(lambda: Path("logs/run"), "The run is in {}") == 0
    assert caplog.messages[-1] == "The run is in logs/run"


# ---- folders, devices and files ----


def test_a_run_folder_is_named_but_not_made(tmp_path, monkeypatch):
    """~ is the home folder; without a name it is DeepReg's time stamp."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cli.new_run_folder("~/logs", "a", ("test",)) == tmp_path / "logs/a/test"
    stamp = cli.new_run_folder("logs", "").name
    assert re.fullmatch(r"\d{8}-\d{6}", stamp)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("allow", "text"), [(True, "true"), (False, "false")])
def test_devices_are_chosen_in_the_environment(monkeypatch, allow, text):
    """None leaves CUDA_VISIBLE_DEVICES as it was."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setenv("TF_FORCE_GPU_ALLOW_GROWTH", "")
    cli.prepare_tensorflow(None, allow)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"
    assert os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] == text
    cli.prepare_tensorflow("", allow)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


def test_deepreg_is_told_the_gpus_that_are_visible_anyway(monkeypatch):
    """It sets CUDA_VISIBLE_DEVICES whatever it was."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert cli.visible_gpus(None) == "2,3"
    assert cli.visible_gpus("") == ""
    assert cli.visible_gpus("1") == "1"


def test_the_file_for_deepreg_passes(tmp_path):
    """It holds what DeepReg may see and is gone afterwards."""

    class Config:
        def deepreg_config(self):
            return {"train": {"epochs": 3}}

    with cli.deepreg_config_file(Config()) as path:
        assert yaml.safe_load(Path(path).read_text()) == {"train": {"epochs": 3}}
        assert path.endswith(".yaml")
    assert not Path(path).exists()


def test_native_notes_are_held_back_unless_something_fails(capfd, monkeypatch):
    """What native libraries write to descriptor 2 while TensorFlow starts."""
    monkeypatch.delenv("DEEPREG_META_DEBUG", raising=False)
    with cli._quiet_native_stderr():
        os.write(2, b"a dozen lines about CUDA\n")
    sys.stderr.flush()
    assert capfd.readouterr().err == ""
    with pytest.raises(ImportError), cli._quiet_native_stderr():
        os.write(2, b"no such library\n")
        raise ImportError
    assert "no such library" in capfd.readouterr().err
    monkeypatch.setenv("DEEPREG_META_DEBUG", "1")
    with cli._quiet_native_stderr():
        os.write(2, b"shown\n")
    assert "shown" in capfd.readouterr().err


def test_a_log_root_that_is_a_file_is_refused_by_name(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        ValueError, match=r"--log_root, --log_dir: expected a folder to"
    ):
        cli.new_run_folder(str(tmp_path / "file" / "below"), "run")
    with pytest.raises(ValueError, match=r"^--output: expected a folder to write to"):
        cli.new_run_folder(str(tmp_path / "file"), ".", flags="--output")


def test_results_do_not_replace_the_folder_that_an_input_lies_in(tmp_path):
    folder = tmp_path / "out"
    cli.check_inputs_stay(folder, [tmp_path / "a.nii.gz", tmp_path / "outer" / "b.nii"])
    for path in (folder, folder / "a.nii.gz", str(folder / "deep" / "b.nii")):
        with pytest.raises(ValueError, match="--output: .* lies in it"):
            cli.check_inputs_stay(folder, [tmp_path / "a.nii.gz", path])
