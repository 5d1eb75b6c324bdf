"""Tests of deepreg_meta/register_pair.py."""

from pathlib import Path

import pytest

import deepreg_meta.registration
from deepreg_meta import command_line as cli
from deepreg_meta import register_pair
from deepreg_meta.dataset.files import PairFiles
from deepreg_meta.results.limits import Limits
from deepreg_meta.results.outputs import Outputs

NEEDED = ["--fixed", "f.nii", "--moving", "m.nii", "--ckpt_path", "run", "-o", "out"]


def test_the_defaults():
    """The best weights, the run's own alignment and steps, all files."""
    parsed = vars(register_pair.build_parser().parse_args(NEEDED))
    assert parsed == {
        "fixed": "f.nii", "moving": "m.nii", "ckpt_path": "run", "output": "out",
        "classical": False,
        "fixed_label": [], "moving_label": [], "fixed_landmarks": None,
        "moving_landmarks": None, "fixed_mask": None, "moving_mask": None,
        "adapt_steps": None, "adapt_seconds": None, "keep": "best",
        "initial": "config", "max_folds": 0.01, "max_displacement": None,
        "transform_format": ["h5"], "inverse": False, "save_nifti": True,
        "save_png": True, "gpu": None, "gpu_allow_growth": False, "config_path": [],
    }  # fmt: skip


@pytest.mark.parametrize("flag", NEEDED[::2])
def test_images_checkpoint_and_output_are_required(flag, capsys):
    start = NEEDED.index(flag)
    with pytest.raises(SystemExit) as end:
        register_pair.main(NEEDED[:start] + NEEDED[start + 2 :])
    assert end.value.code == 2
    assert flag in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--adapt-steps", "3", "--adapt-seconds", "2"], "not allowed with argument"),
        (["--adapt-steps", "-3"], "expected an integer >= 0, got '-3'"),
        (["--adapt-seconds", "0"], "expected a number > 0, got '0'"),
        (["--keep", "first"], "invalid choice: 'first'"),
        (["--transform-format", "mat"], "invalid choice: 'mat'"),
    ],
)
def test_wrong_words_are_refused(words, message, capsys):
    """Exit status 2, before anything is looked at."""
    with pytest.raises(SystemExit) as end:
        register_pair.main([*NEEDED, *words])
    assert end.value.code == 2
    assert message in capsys.readouterr().err


@pytest.fixture
def files(tmp_path):
    """:return: the words of a command whose files are there, and its folder."""
    for name in ("f.nii", "m.nii", "fl1.nii", "fl2.nii", "ml.nii", "p.csv", "k.nii"):
        (tmp_path / name).touch()
    (tmp_path / "save").mkdir()
    (tmp_path / "save" / "ckpt-4.index").touch()
    return [
        *("--fixed", f"{tmp_path}/f.nii", "--moving", f"{tmp_path}/m.nii"),
        *("--ckpt_path", str(tmp_path), "--output", f"{tmp_path}/a/result"),
    ]


@pytest.fixture
def calls(monkeypatch):
    """:return: what the registration that would have started was asked for."""
    found = {}

    class Pair:
        def save(self, folder, outputs):
            found.update(folder=folder, outputs=outputs)
            return "a table of scores"

    class Registrar:
        def __init__(self, *args):
            found["registrar"] = args

        def register(self, *sides, **options):
            found.update(sides=sides, options=options)
            return Pair()

    monkeypatch.setattr(deepreg_meta.registration, "Registrar", Registrar)
    monkeypatch.setattr(cli, "prepare_tensorflow", lambda *args: found.update(gpu=args))
    return found


def test_everything_is_handed_on(files, calls, tmp_path, capsys):
    """Files by side, how far, limits, outputs; the table is printed."""
    at = lambda name: f"{tmp_path}/{name}"  # noqa: E731
    words = [
        *("--fixed-label", at("fl1.nii"), at("fl2.nii"), "--moving-label"),
        *(at("ml.nii"), "--fixed-landmarks", at("p.csv"), "--moving-mask", at("k.nii")),
        *("--adapt-seconds", "1.5", "--keep", "last", "--initial", "mass"),
        *("--max-folds", "0.2", "--max-displacement", "7", "--inverse", "--no_png"),
        *("--transform-format", "nifti", "h5", "-c", "a.yaml", "b.yaml"),
        *("--gpu", "1", "--gpu_allow_growth"),
    ]
    assert register_pair.main([*files, *words]) == 0
    assert calls["sides"] == (
        PairFiles(at("f.nii"), (at("fl1.nii"), at("fl2.nii")), at("p.csv"), None),
        PairFiles(at("m.nii"), (at("ml.nii"),), None, at("k.nii")),
    )
    assert calls["options"] == {
        "adapt_steps": None, "adapt_seconds": 1.5, "keep": "last", "initial": "mass",
        "limits": Limits(0.2, 7.0),
    }  # fmt: skip
    assert calls["registrar"] == (str(tmp_path), ["a.yaml", "b.yaml"])
    assert calls["outputs"] == Outputs(True, ("nifti", "h5"), True, False)
    assert calls["gpu"] == ("1", True)
    assert calls["folder"] == Path(at("a/result"))
    assert capsys.readouterr().out == "a table of scores\n"


def test_volumes_and_transforms_may_be_declined(files, calls):
    assert register_pair.main([*files, "--no_nifti", "--adapt-steps", "0"]) == 0
    assert calls["outputs"] == Outputs(volumes=False, formats=())
    assert calls["options"]["adapt_steps"] == 0


def fails(words, calls, caplog):
    """:return: the one message of a command that fails before anything starts."""
    assert register_pair.main(words) == 2
    assert calls == {}
    [record] = [r for r in caplog.records if r.levelname == "ERROR"]
    return record.getMessage()


def test_all_missing_files_are_named_at_once(files, calls, tmp_path, caplog):
    """With their flags, before TensorFlow takes its seconds."""
    (tmp_path / "m.nii").unlink()
    words = [
        *(*files, "--fixed-label", f"{tmp_path}/fl1.nii", f"{tmp_path}/no1.nii"),
        *("--moving-landmarks", f"{tmp_path}/no2.fcsv", "--fixed-mask", "no3.nii"),
        *("--initial", "no4.tfm"),
    ]
    message = fails(words, calls, caplog)
    found = {line.split(":")[0]: line.split()[-1] for line in message.splitlines()}
    assert found == {
        "--moving": f"{tmp_path}/m.nii", "--fixed-label": f"{tmp_path}/no1.nii",
        "--moving-landmarks": f"{tmp_path}/no2.fcsv", "--fixed-mask": "no3.nii",
        "--initial": "no4.tfm",
    }  # fmt: skip


@pytest.mark.parametrize("word", ["config", "center", "header", "mass"])
def test_words_of_initial_are_no_files(files, calls, word):
    assert register_pair.main([*files, "--initial", word]) == 0
    assert calls["options"]["initial"] == word


def test_a_missing_checkpoint_is_told(files, calls, tmp_path, caplog):
    (tmp_path / "save" / "ckpt-4.index").unlink()
    assert "--ckpt_path: expected a folder with" in fails(files, calls, caplog)


def test_a_folder_of_other_files_is_not_written_to(files, calls, tmp_path, caplog):
    (tmp_path / "a" / "result").mkdir(parents=True)
    (tmp_path / "a" / "result" / "thesis.tex").touch()
    assert "--output: " in fails(files, calls, caplog)


def test_a_folder_that_cannot_be_made_is_told_by_its_flag(
    files, calls, tmp_path, caplog
):
    (tmp_path / "a").touch()
    message = fails(files, calls, caplog)
    assert message.startswith("--output: expected a folder to write to")
    assert "log_root" not in message
