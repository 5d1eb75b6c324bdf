"""Tests of demos/test_time_training/templates.py, with a registrar that knows poses."""

import json
from argparse import Namespace

import pandas as pd
import pytest

from tests.unit.atlas.examples import PoseRegistrar, config_of, write_all


@pytest.fixture
def study(load_demo, monkeypatch):
    """:return: the script, with the structures of the examples."""
    script = load_demo("test_time_training", "templates")
    monkeypatch.setattr(script, "LABELS", {"gland": 1, "cyst": 4})
    return script


@pytest.fixture
def kept(study, tmp_path):
    """:return: the registrar, and the one that it asks."""
    inner = PoseRegistrar(config_of(tmp_path / "run", dict(labels=None)))
    return study.Kept(inner), inner


@pytest.fixture
def files(tmp_path):
    return {own.name: own for own in write_all(tmp_path)}


def test_two_images_are_registered_once(kept, files):
    registrar, inner = kept
    paths = [files[name].image for name in ("target", "a1", "a2")]
    first = registrar.register(paths[0], paths[1], initial="center")
    registrar.register(paths[1], paths[2], initial="center")
    assert registrar.register(paths[0], paths[1], initial="center") is first
    names = [call[:2] for call in inner.calls]
    assert names == [("target", "a1"), ("a1", "a2")]
    known = {(paths[0], paths[1]): 0.5, (paths[1], paths[2]): 0.5}
    assert registrar.seconds == known  # of adaptation and prediction


def test_every_number_and_fusion_has_a_row(study, kept, files):
    registrar, inner = kept
    templates = [files["a1"], files["a2"]]
    rows = study.segment_target(
        registrar,
        files["target"],
        files["a3"],
        templates,
        [0, 2],
        [study.Fusion("majority"), study.Fusion("joint")],
    )
    assert [row["method"] for row in rows] == [
        "atlas", "2 templates, majority", "2 templates, joint"
    ]  # fmt: skip
    assert len(inner.calls) == 5  # the direct way, and two templates twice
    for row in rows:
        assert row["dice_nearest"] == (row["dice_gland"] + row["dice_cyst"]) / 2 > 0.7
    for row, number in zip(rows, (0, 2, 2), strict=True):  # half a second each
        assert row["cpu_seconds"] > 0.5 * (1 + number)
        assert row["cpu_seconds_onward"] == 0.5 * number
    options = study.Options(1, interpolation="nearest")
    direct = study.Segmenter(registrar, [files["a3"]], options).segment(files["target"])
    assert rows[0]["dice_gland"] == direct.dsc["1"]


def test_the_report_compares_pair_by_pair(study, tmp_path):
    rows = pd.DataFrame(
        {"method": method, "case": str(i), "dice_nearest": 0.8 + gain + 0.01 * i,
         "dice_gland": 0.8, "dice_cyst": 0.8, "cpu_seconds": 2.0,
         "cpu_seconds_onward": 0.0}
        for method, gain in (("atlas", 0.0), ("2 templates, joint", 0.03))
        for i in range(4)
    )  # fmt: skip
    peers = rows[rows["method"] == "atlas"].assign(method="SyN (given)", seed=0)
    peers = peers.assign(dice_nearest=peers["dice_nearest"] + 0.01)
    text = study.write_report(rows, peers, tmp_path / "report.md")
    assert "| 2 templates, joint | atlas | 4 | 0.03 |" in text
    assert "| 2 templates, joint | SyN (given) | 4 | 0.02 |" in text
    assert (tmp_path / "report.md").read_text() == text


def test_rows_of_other_settings_are_not_mixed(study, tmp_path):
    settings = dict(ckpt_path=None, steps=[4, 4, 4], num_templates=[0, 2])
    settings |= {"fusion": ["majority"], "data_dir": tmp_path}
    settings |= {"search_radius": 0}
    stamp = tmp_path / "hippocampus" / "dataset.json"
    stamp.parent.mkdir()
    stamp.write_text('{"digest": "0"}')
    path = tmp_path / "valid.json"
    found = study.check_settings(Namespace(**settings, limit=1), path)
    assert not path.exists()  # there are no rows yet
    path.write_text(json.dumps(found))
    study.check_settings(Namespace(**settings, limit=9), path)
    with pytest.raises(ValueError, match="--output: expected the settings of the rows"):
        study.check_settings(Namespace(**(settings | {"steps": [9, 9, 9]})), path)
    stamp.write_text('{"digest": "1"}')
    with pytest.raises(ValueError, match="--output: expected the settings of the rows"):
        study.check_settings(Namespace(**settings), path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--num-templates", "0", "-1"], "--num-templates: expected >= 0, got -1"),
        (["--limit", "0"], "--limit: expected >= 1, got 0"),
        (["--ckpt_path", "nosuch"], "--ckpt_path: expected the folder of a run"),
        ([], "--from: expected a folder with hippocampus/images, got"),
    ],
)
def test_wrong_words_leave_nothing_behind(study, tmp_path, capsys, words, message):
    output = tmp_path / "out"
    folders = ["--from", str(tmp_path), "--output", str(output), "--data-dir",
               str(tmp_path / "data")]  # fmt: skip
    with pytest.raises(SystemExit):
        study.main([*folders, *words])
    assert message in capsys.readouterr().err
    assert not output.exists()
