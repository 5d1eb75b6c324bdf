"""Tests of deepreg_meta/command_line.py."""

import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest
import yaml

from deepreg_meta import command_line as cli


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


def test_a_scheduler_ends_a_command_as_ctrl_c_does(caplog):
    before = signal.getsignal(signal.SIGTERM)

    def call():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    assert cli.run(call, "Done {}") == 130
    assert "Interrupted. No results were written." in caplog.text
    assert signal.getsignal(signal.SIGTERM) is before
