"""Tests of deepreg_meta/track.py: the command line, nothing of what it starts."""

from dataclasses import replace
from pathlib import Path

import pytest

import deepreg_meta.sequence.job as job_module
import deepreg_meta.sequence.network as network_module
import deepreg_meta.sequence.run as run_module
from deepreg_meta import command_line as cli
from deepreg_meta import track
from deepreg_meta.sequence.job import TrackOptions
from tests.unit.sequence.examples import shifting

NEEDED = ["--sequence", "s.nii", "--ckpt_path", "run", "-o", "out"]


def test_the_defaults():
    """Backward, the whole frame, windows of the paper's radius, a film of arrows."""
    parsed = vars(track.build_parser().parse_args(NEEDED))
    assert parsed == {
        "sequence": ["s.nii"], "ckpt_path": "run", "output": "out", "axes": None,
        "frame_rate": None, "direction": "backward", "mask": [],
        "intensity_range": None, "dilate": "0", "window_radius": 10, "label": None,
        "points": None, "label_at": [], "points_at": [], "truth": None,
        "adapt_steps": None, "adapt_seconds": None, "keep": "best", "animation": True,
        "animation_style": None, "plane": None, "gpu": None,
        "gpu_allow_growth": False, "config_path": [], "carry": False,
        "together": False, "classical": False,
    }  # fmt: skip


def test_the_options_have_the_defaults_of_the_command():
    words = track._options(track.build_parser().parse_args(NEEDED))
    assert TrackOptions(**words) == TrackOptions(["s.nii"], mask=[], label_at=[],
                                                 points_at=[])  # fmt: skip


@pytest.mark.parametrize("flag", NEEDED[::2])
def test_sequence_checkpoint_and_output_are_required(flag, capsys):
    start = NEEDED.index(flag)
    with pytest.raises(SystemExit) as end:
        track.main(NEEDED[:start] + NEEDED[start + 2 :])
    assert end.value.code == 2
    assert flag in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--adapt-steps", "3", "--adapt-seconds", "2"], "not allowed with argument"),
        (["--axes", "xyz"], "invalid choice: 'xyz'"),
        (["--direction", "up"], "invalid choice: 'up'"),
        (["--frame-rate", "fast"], "invalid float value: 'fast'"),
        (["--animation-style", "dots"], "invalid choice: 'dots'"),
        (["--label-at", "3"], "expected 2 arguments"),
        (["--intensity-range", "0.1"], "expected 2 arguments"),
    ],
)
def test_wrong_words_are_refused(words, message, capsys):
    """Exit status 2, before anything is looked at."""
    with pytest.raises(SystemExit) as end:
        track.main([*NEEDED, *words])
    assert end.value.code == 2
    assert message in capsys.readouterr().err


@pytest.fixture
def run(tmp_path):
    """:return: folder of a run with a checkpoint."""
    (tmp_path / "run" / "save").mkdir(parents=True)
    (tmp_path / "run" / "save" / "ckpt-4.index").touch()
    return tmp_path / "run"


@pytest.fixture
def calls(monkeypatch):
    """:return: what the tracking that would have started was asked for."""
    found = {}

    class Network:
        checkpoint, steps, changes_weights = "run/save/ckpt-4", 7, True

        def __init__(self, *args, **options):
            found["network"] = args, options

        def dump_config(self, folder):
            pass

        def check(self, sequence):
            found["checked"] = sequence

        def fit_together(self, pairs):
            found["together"] = pairs

    class Job:
        sequence = replace(shifting(3), paths=(Path("s.nii"),))

        def frame_pairs(self):
            return ["a pair"]

    def prepare(options):
        found["options"] = options
        return Job()

    def run_job(job, registrar, folder, settings, carry, dump):
        assert isinstance(job, Job)
        found.update(
            job=job, registrar=registrar, folder=folder, settings=settings, carry=carry
        )
        return "a table"

    monkeypatch.setattr(job_module, "prepare", prepare)
    monkeypatch.setattr(network_module, "NetworkRegistrar", Network)
    monkeypatch.setattr(run_module, "run_job", run_job)
    monkeypatch.setattr(cli, "prepare_tensorflow", lambda *args: found.update(gpu=args))
    return found


def test_everything_is_handed_on(run, calls, tmp_path, capsys):
    out = tmp_path / "a" / "out"
    words = [
        *("--sequence", "f1.png", "f2.png", "--ckpt_path", str(run), "-o", str(out)),
        *("--axes", "xyt", "--frame-rate", "75", "--direction", "forward"),
        *("--mask", "m1.png", "m2.png", "--intensity-range", "0.005", "0.995"),
        *("--dilate", "4.5mm", "--window-radius", "5", "--label", "l.png"),
        *(
            "--points",
            "p.csv",
            "--label-at",
            "3",
            "l3.png",
            "--label-at",
            "7",
            "l7.png",
        ),
        *("--points-at", "3", "p3.csv", "--truth", "truth"),
        *("--animation-style", "speed", "--plane", "2", "30", "--adapt-steps", "20"),
        *("--keep", "last", "-c", "a.yaml", "b.yaml", "--gpu", "1"),
    ]
    assert track.main(words) == 0
    assert calls["options"] == TrackOptions(
        sequence=["f1.png", "f2.png"],
        axes="xyt",
        frame_rate=75.0,
        direction="forward",
        mask=["m1.png", "m2.png"],
        intensity_range=(0.005, 0.995),
        dilate="4.5mm",
        window_radius=5,
        label="l.png",
        points="p.csv",
        label_at=[(3, "l3.png"), (7, "l7.png")],
        points_at=[(3, "p3.csv")],
        truth="truth",
        animation_style="speed",
        plane=(2, 30),
    )
    options = dict(
        adapt_steps=20, adapt_seconds=None, keep="last", carry=False, config=None
    )
    assert calls["network"] == ((str(run), ["a.yaml", "b.yaml"]), options)
    assert calls["settings"] == {
        "adapt_steps": 7, "adapt_seconds": None, "keep": "last",
        "checkpoint": "run/save/ckpt-4", "together": False,
    }  # fmt: skip
    assert calls["gpu"] == ("1", False) and not calls["carry"]
    assert "together" not in calls
    assert calls["checked"] is calls["job"].sequence
    assert calls["folder"] == Path(out)
    assert capsys.readouterr().out == "a table\n"


def test_without_a_network_the_grid_is_that_of_the_frames(
    calls, tmp_path, caplog, capsys
):
    own = tmp_path / "own.yaml"
    own.write_text("adapt: {field: {sigma_vox: 4.0}}")
    words = ["--sequence", "s.nii", "--classical", "-o", str(tmp_path / "out")]
    assert track.main([*words, "-c", str(own)]) == 0
    args, options = calls["network"]
    config = options["config"]
    assert args[0] is None and config.adapt.field.sigma_vox == 4.0
    assert config.dataset.fixed_shape == config.dataset.moving_shape == (20, 17, 1)
    for flag in (["--carry"], ["--together"], ["--adapt-seconds", "2"]):
        assert track.main([*words, *flag]) == 2
        assert f"{flag[0]}: expected none with --classical" in caplog.text
    with pytest.raises(SystemExit):
        track.main([*words[:2], *words[3:]])
    assert (
        "one of the arguments --ckpt_path/-k --classical is required"
        in capsys.readouterr().err
    )


def test_weights_are_carried_or_shared_on_demand(run, calls, tmp_path, capsys):
    words = ["--sequence", "s.nii", "-k", str(run), "-o", str(tmp_path / "out")]
    assert track.main([*words, "--carry"]) == 0
    assert calls["carry"] and calls["network"][1]["carry"]
    assert track.main([*words, "--together"]) == 0
    assert calls["together"] == ["a pair"] and calls["settings"]["together"]
    with pytest.raises(SystemExit):
        track.main([*words, "--carry", "--together"])
    assert "not allowed with" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--carry", "--together"])
def test_without_updates_there_are_no_weights_to_carry_or_share(
    run, calls, tmp_path, caplog, monkeypatch, flag
):
    monkeypatch.setattr(network_module.NetworkRegistrar, "changes_weights", False)
    words = ["--sequence", "s.nii", "-k", str(run), "-o", str(tmp_path / "out")]
    assert track.main([*words, flag]) == 2
    assert f"{flag}: expected updates of the network" in caplog.text
    assert "folder" not in calls and "together" not in calls
    assert track.main(words) == 0


@pytest.mark.parametrize(
    "words", [["--animation-style", "speed"], ["--plane", "2", "30"]]
)
def test_flags_of_a_film_need_one(run, calls, tmp_path, caplog, words):
    needed = ["--sequence", "s.nii", "-k", str(run), "-o", str(tmp_path / "out")]
    assert track.main([*needed, "--no-animation"]) == 0
    assert not calls["options"].animation
    calls.clear()
    said = fails([*needed, "--no-animation", *words], calls, caplog)
    assert f"{words[0]}: expected none with --no-animation" in said


def fails(words, calls, caplog):
    """:return: the one message of a command that fails before anything starts."""
    assert track.main(words) == 2
    assert not set(calls) - {"options"}
    [record] = [r for r in caplog.records if r.levelname == "ERROR"]
    return record.getMessage()


def test_a_frame_is_told_by_its_index(run, calls, tmp_path, caplog):
    words = ["--sequence", "s.nii", "-k", str(run), "-o", str(tmp_path / "out")]
    words += ["--label", "l.png", "--label-at", "last", "x.png"]
    assert "--label-at: expected the index of a frame and a file, got last x" in (
        fails(words, calls, caplog)
    )


def test_a_missing_checkpoint_is_told_before_files_are_read(run, calls, caplog):
    (run / "save" / "ckpt-4.index").unlink()
    words = ["--sequence", "s.nii", "-k", str(run), "-o", str(run / "out")]
    assert "--ckpt_path: expected a folder with" in fails(words, calls, caplog)


def test_a_folder_of_other_files_is_not_written_to(run, calls, tmp_path, caplog):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    words = ["--sequence", "s.nii", "-k", str(run), "-o", str(tmp_path / "out")]
    assert "exists and holds something else" in fails(words, calls, caplog)


@pytest.mark.parametrize("flag", ["--sequence", "--mask", "--label", "--truth"])
def test_the_folder_of_an_input_is_not_replaced(run, calls, tmp_path, caplog, flag):
    """Not even where it holds earlier results: fields that are taken for a truth."""
    out = tmp_path / "out"
    (out / "fields").mkdir(parents=True)
    (out / "tracking.csv").touch()
    words = ["--sequence", "s.nii", "-k", str(run), "-o", str(out)]
    message = fails([*words, flag, str(out / "fields")], calls, caplog)
    assert f"--output: {out} would be replaced, and {out}/fields lies in" in message
