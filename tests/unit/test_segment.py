"""Tests of deepreg_meta/segment.py: the command line alone."""

import json
import re
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import deepreg_meta.atlas.run
import deepreg_meta.atlas.segmenter
import deepreg_meta.registration
from deepreg_meta import command_line as cli
from deepreg_meta import segment
from deepreg_meta.atlas.fuse import METHODS, Fusion
from deepreg_meta.atlas.options import Options
from deepreg_meta.atlas.similarity import MEASURES

NEEDED = ["--target", "t.nii", "--atlas-images", "i", "--atlas-labels", "l",
          "--ckpt_path", "run", "-o", "out"]  # fmt: skip


def test_the_defaults_are_those_of_python():
    """Of the options and of the fusion."""
    parsed = segment.build_parser().parse_args(NEEDED)
    own = Options(
        parsed.num_atlases, parsed.select, segment._fusion_of(parsed),
        parsed.label_interpolation, parsed.adapt_steps, parsed.adapt_seconds,
        parsed.keep, parsed.initial, parsed.allow_self, parsed.num_templates,
    )  # fmt: skip
    assert own == Options() and parsed.save_png and parsed.pairs is None
    assert parsed.template_images == []


def test_every_method_can_be_chosen():
    for method in METHODS:
        for measure in MEASURES:
            words = [*NEEDED, "--fusion", method, "--select", measure]
            parsed = segment.build_parser().parse_args(words)
            assert (parsed.fusion, parsed.select) == (method, measure)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (NEEDED[2:], "one of the arguments --target --targets is required"),
        ([*NEEDED, "--targets", "x"], "not allowed with argument"),
        (NEEDED[:2] + NEEDED[4:], "--atlas-images"),
        ([*NEEDED, "--fusion", "mean"], "invalid choice: 'mean'"),
        ([*NEEDED, "--adapt-steps", "1", "--adapt-seconds", "1"], "not allowed with"),
    ],
)
def test_wrong_words_are_refused(words, message, capsys):
    with pytest.raises(SystemExit) as end:
        segment.main(words)
    assert end.value.code == 2
    assert message in capsys.readouterr().err


@pytest.fixture
def folder(tmp_path):
    """:return: folder of images t, a, b, of their labels, and of a run."""
    (tmp_path / "run" / "save").mkdir(parents=True)
    (tmp_path / "run" / "save" / "ckpt-4.index").touch()
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
        for name in "tab":
            image = nib.Nifti1Image(np.ones((3, 4, 5), np.uint8), np.eye(4))
            nib.save(image, tmp_path / kind / f"{name}.nii.gz")
    return tmp_path


def words_of(folder, *more, target=None):
    target = target or ["--target", f"{folder}/images/t.nii.gz"]
    return [*target, "--atlas-images", f"{folder}/images", "--atlas-labels",
            f"{folder}/labels", "--ckpt_path", f"{folder}/run", "--output",
            f"{folder}/a/out", *more]  # fmt: skip


@pytest.fixture
def calls(monkeypatch):
    """:return: what the segmentation that would have started was asked for."""
    found = {}

    class Registrar:
        def __init__(self, *args, config=None):
            found.update(registrar=args, config=config)

    class Segmenter:
        def __init__(self, registrar, atlases, options, templates):
            found.update(atlases=[own.name for own in atlases], options=options)
            found.update(templates=templates)

        def dump_config(self, path):
            Path(path).write_text("checkpoint ckpt-4")

    def one(segmenter, job, working, figure):
        found.update(job=job, figure=figure)
        (working / "atlases.csv").touch()
        return "a table"

    def many(segmenter, jobs, working, figures):
        found.update(jobs=jobs, figures=figures)
        (working / "atlases.csv").touch()
        return "many tables"

    monkeypatch.setattr(deepreg_meta.registration, "Registrar", Registrar)
    monkeypatch.setattr(deepreg_meta.atlas.segmenter, "Segmenter", Segmenter)
    monkeypatch.setattr(deepreg_meta.atlas.run, "segment_one", one)
    monkeypatch.setattr(deepreg_meta.atlas.run, "segment_many", many)
    monkeypatch.setattr(cli, "prepare_tensorflow", lambda *args: found.update(gpu=args))
    return found


def test_everything_is_handed_on(folder, calls, capsys):
    words = [
        *("--target-label", f"{folder}/labels/t.nii.gz", "--num-atlases", "2"),
        *("--select", "nlcc", "--fusion", "joint"),
        *("--alpha", "0.3", "--beta", "1.5", "--patch-radius", "3"),
        *("--search-radius", "1", "--label-interpolation", "nearest", "--keep", "last"),
        *("--adapt-seconds", "1.5", "--initial", "mass", "--allow-self", "--no_png"),
        *("-c", "x.yaml", "--gpu", "1"),
    ]
    assert segment.main(words_of(folder, *words)) == 0
    assert calls["registrar"] == (f"{folder}/run", ["x.yaml"])
    assert calls["atlases"] == ["a", "b", "t"] and calls["gpu"] == ("1", False)
    fusion = Fusion("joint", "local", 0.3, 1.5, 3, 1)
    assert calls["options"] == Options(
        2, "nlcc", fusion, "nearest", None, 1.5, "last", "mass", True
    )
    target, named = calls["job"]
    assert target.label == folder / "labels" / "t.nii.gz" and named is None
    assert calls["figure"] is False and calls["templates"] == []
    assert capsys.readouterr().out == "a table\n"
    written = (folder / "a" / "out" / "config.yaml").read_text()
    assert written == "checkpoint ckpt-4" and calls["config"] is None


def test_without_a_network_all_images_share_a_grid(folder, calls, caplog, capsys):
    """That of the target's axes and voxels, as it is the first one."""
    spacious = nib.Nifti1Image(np.ones((9, 4, 5), np.uint8), np.diag([-2, 1, 1, 1]))
    for kind in ("images", "labels"):
        nib.save(spacious, folder / kind / "b.nii.gz")
    words = [word for word in words_of(folder) if not word.endswith("run")]
    words[words.index("--ckpt_path")] = "--classical"
    own = folder / "own.yaml"
    own.write_text("adapt: {field: {steps: 7}}")
    assert segment.main([*words, "-c", str(own)]) == 0
    dataset = calls["config"].dataset
    assert calls["registrar"] == (None,)
    assert calls["config"].adapt.field_steps == (7, 7, 7)
    assert (dataset.grid.orientation, dataset.grid.fit) == ("RAS", "pad")
    assert dataset.grid.spacing_mm.fixed == (1, 1, 1)
    assert dataset.fixed_shape == dataset.moving_shape == (18, 4, 5)
    assert segment.main([*words, "--adapt-steps", "3"]) == 2
    assert "--adapt-steps: expected none with --classical" in caplog.text
    with pytest.raises(SystemExit):
        segment.main([*words, "--ckpt_path", "run"])
    assert "not allowed with argument --classical" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], Fusion("joint", "local", 0.1, 2.0, 2, 0)),
        (["--fusion", "weighted", "--weights", "global", "--beta", "3"],
         Fusion("weighted", "global", beta=3.0)),
        (["--fusion", "weighted", "--search-radius", "2"],
         Fusion("weighted", search_radius=2)),
        (["--fusion", "majority", "--search-radius", "2"],
         "--search-radius: expected none with --fusion majority.*got 2"),
        (["--fusion", "staple", "--beta", "1"], "--beta: .* --fusion staple"),
        (["--fusion", "joint", "--weights", "local"], "--weights: .* --fusion joint"),
        (["--fusion", "weighted", "--alpha", "1"], "--alpha: .* --fusion weighted,"),
        (["--fusion", "weighted", "--weights", "global", "--patch-radius", "3"],
         "--patch-radius: .* --fusion weighted --weights global, which"),
    ],
)  # fmt: skip
def test_options_of_fusion_are_used_or_refused(folder, calls, caplog, words, expected):
    status = segment.main(words_of(folder, *words))
    if isinstance(expected, Fusion):
        assert status == 0 and calls["options"].fusion == expected
    else:
        assert status == 2 and re.search(expected, caplog.text)


def test_many_targets_have_their_labels_and_their_atlases(folder, calls, capsys):
    """Only what the file of pairs names is looked at."""
    (folder / "pairs.json").write_text(json.dumps([{"test": "t", "atlas": "b"}]))
    target = ["--targets", f"{folder}/images", "--target-labels", f"{folder}/labels"]
    words = words_of(folder, "--pairs", f"{folder}/pairs.json", target=target)
    assert segment.main(words) == 0
    [(own, named)] = calls["jobs"]
    assert own.name == "t" and own.label == folder / "labels" / "t.nii.gz"
    assert [atlas.name for atlas in named] == calls["atlases"] == ["b"]
    assert calls["figures"] is True and "many tables" in capsys.readouterr().out
    assert segment.main(words_of(folder, target=target)) == 0
    assert [own.name for own, _ in calls["jobs"]] == ["a", "b", "t"]


def test_templates_need_no_labels(folder, calls):
    (folder / "others").mkdir()
    for name in ("x", "y"):
        image = folder / "images" / "a.nii.gz"
        (folder / "others" / f"{name}.nii.gz").write_bytes(image.read_bytes())
    words = ["--template-images", f"{folder}/others", "--num-templates", "1"]
    assert segment.main(words_of(folder, *words)) == 0
    assert [own.name for own in calls["templates"]] == ["x", "y"]
    assert {own.label for own in calls["templates"]} == {None}
    assert calls["options"].num_templates == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--num-templates", "2"], "--num-templates: expected --template-images"),
        (["--template-images", "no"], "--template-images: expected a file or a folder"),
        (["--template-images", "{}/images", "--initial", "{}/images/a.nii.gz"],
         "--initial: expected one of config, center, header, mass with --template-ima"),
    ],
)  # fmt: skip
def test_templates_that_cannot_be_are_told(folder, calls, caplog, words, message):
    words = [word.format(folder) for word in words]
    assert message in fails(words_of(folder, *words), calls, caplog)


def fails(words, calls, caplog):
    """:return: the one message of a command that fails before anything starts."""
    assert segment.main(words) == 2
    assert calls == {}
    [record] = [r for r in caplog.records if r.levelname == "ERROR"]
    return record.getMessage()


def test_files_that_are_not_there_are_told(folder, calls, caplog):
    target = ["--target", f"{folder}/no.nii", "--target-label", f"{folder}/no2.nii"]
    message = fails(
        words_of(folder, "--initial", "no.tfm", target=target), calls, caplog
    )
    found = [line.split(":")[0] for line in message.splitlines()]
    assert found == ["--target", "--target-label", "--initial"]
    assert "expected config, center, header, mass or a file, found none: no.tfm" in (
        message
    )


def test_images_without_labels_are_all_named(folder, calls, caplog):
    for name in "at":
        (folder / "labels" / f"{name}.nii.gz").unlink()
    message = fails(words_of(folder), calls, caplog)
    assert message.startswith("--atlas-labels: ") and message.endswith("for 2: a, t.")


def test_labels_on_other_grids_are_told_by_their_headers(folder, calls, caplog):
    for name in "ab":
        image = nib.Nifti1Image(np.ones((3, 4, 6), np.uint8), np.eye(4))
        nib.save(image, folder / "labels" / f"{name}.nii.gz")
    message = fails(words_of(folder), calls, caplog)
    assert "2 problems with files" in message
    assert "labels/a.nii.gz" in message and "labels/b.nii.gz" in message


def test_a_label_needs_the_target_that_it_belongs_to(folder, calls, caplog):
    label = f"{folder}/labels/t.nii.gz"
    message = fails(words_of(folder, "--target-labels", label), calls, caplog)
    assert message == "--target-labels: expected --targets with it, got none."
    caplog.clear()
    target = ["--targets", f"{folder}/images", "--target-label", label]
    message = fails(words_of(folder, target=target), calls, caplog)
    assert message == "--target-label: expected --target with it, got none."


def test_options_out_of_range_are_told(folder, calls, caplog):
    assert "--alpha: expected" in fails(words_of(folder, "--alpha", "0"), calls, caplog)


def test_a_missing_checkpoint_is_told(folder, calls, caplog):
    (folder / "run" / "save" / "ckpt-4.index").unlink()
    assert "--ckpt_path: expected a folder with" in fails(
        words_of(folder), calls, caplog
    )


def test_the_folder_of_an_input_is_not_replaced(folder, calls, caplog):
    """Nor one that holds other files."""
    out = folder / "a" / "out"
    out.mkdir(parents=True)
    image = nib.load(folder / "images" / "t.nii.gz")
    nib.save(image, out / "segmentation.nii.gz")
    (out / "atlases.csv").touch()
    target = ["--target", f"{out}/segmentation.nii.gz"]
    message = fails(words_of(folder, target=target), calls, caplog)
    assert (
        "would be replaced" in message and "segmentation.nii.gz lies in it" in message
    )
    caplog.clear()
    (out / "thesis.tex").touch()
    assert "thesis.tex" in fails(words_of(folder), calls, caplog)


def test_tensorflow_is_not_touched_before_files_are_checked(folder):
    """A faulty command fails in a moment."""
    (folder / "labels" / "a.nii.gz").unlink()
    code = (
        "import sys; from deepreg_meta.segment import main\n"
        f"assert main({words_of(folder)!r}) == 2\n"
        "assert 'tensorflow' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "found none for 1: a" in done.stderr
