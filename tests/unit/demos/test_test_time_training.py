"""Tests of demos/test_time_training: its data, demons, plans, and a tiny study."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter

from deepreg_meta.study.schedule import plan_runs

LABELS = {"anterior": 1, "posterior": 2}


def volume(seed, shape=(20, 24, 18)):
    """:return: an image of two structures somewhat elsewhere each time, and the map."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    label = np.zeros(shape, np.uint8)
    for index, centre in ((1, (10, 8, 9)), (2, (10, 16, 9))):
        distance = np.linalg.norm(grid - centre - rng.uniform(-1.5, 1.5, 3), axis=-1)
        label[distance < 4.5] = index
    texture = gaussian_filter(rng.normal(size=shape), 1.0)
    return (100.0 + 60.0 * label + 20.0 * texture).astype(np.float32), label


@pytest.fixture
def source(tmp_path, monkeypatch, load_demo):
    """:return: a folder of volumes in the layout of the real ones; few are held out."""
    demo = load_demo("test_time_training", "demo_data")
    monkeypatch.setattr(demo, "NUM_VALID", 2)
    monkeypatch.setattr(demo, "NUM_KNOWN", 2)
    monkeypatch.setattr(demo, "NUM_FEW", 1)
    monkeypatch.setattr(demo, "SIZE", (24, 24, 16))  # padded, as it is, and cut
    folder = tmp_path / "from" / "hippocampus"
    for number in range(10):
        image, label = volume(number)
        for kind, voxels in (("images", image), ("labels", label)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            path = folder / kind / f"hippocampus_{number:03d}.nii.gz"
            nib.save(nib.Nifti1Image(voxels, np.eye(4)), path)
    pairs = [{"test": f"hippocampus_00{n}", "atlas": "hippocampus_007"} for n in (1, 2)]
    (folder / "pairs_40.json").write_text(json.dumps(pairs))
    case = {"dice1": 0.5, "dice2": 0.7, "nonpositive_jacobian_percent": 2.0, "cpu_s": 9}
    peers = [{"test": f"hippocampus_00{n}", "atlas": "x", **case} for n in (1, 2)]
    (folder / "peers_40.json").write_text(json.dumps({"methods": {"SyN": peers}}))
    return folder.parent


@pytest.fixture
def study(load_demo):
    """:return: the script."""
    return load_demo("test_time_training", "study")


@pytest.mark.parametrize("form", ["smoke", "choices", "test", "long", "field"])
def test_every_plan_is_good_and_two_forms_alone_look_at_the_tests(study, form):
    runs = plan_runs([study.PLAN / name for name in study.FORMS[form]], "/data")
    methods = {run.method for run in runs}
    inside = {"inside", "meta_inside", "scales", "weak_scales"}
    assert methods == {"trained", "meta", "random", "direct", "weak"} | inside
    tests = {name for run in runs for name in run.tests}
    more = {"test": {"test"}, "long": {"test", "few"}}.get(form, set())
    assert tests == {"choices", "known"} | more
    for run in runs:
        # weights are drawn, or learned in an order that is; the field alone has none
        assert not (run.method == "direct" and run.seed)
        if run.seed:
            assert set(run.tests) == {"test"}
        # all learn by one loss, or by one of what lies inside, but for the labels, and
        # adapt by images alone
        loss = dict(run.overrides["train"].get("loss") or {})
        label = loss.pop("label", None)
        assert (label is not None) == run.method.startswith("weak")
        own = dict(image=dict(noise=0.01), regularization=dict(weight=0.5))
        assert loss == (own if run.method in inside else {})
        padding = run.overrides.get("dataset", {}).get("grid", {}).get("padding")
        if run.method in inside:
            assert padding == ("background" if form == "smoke" else "ignore")
        else:
            assert padding is None
        assert run.test_config["adapt"]["labels"] == []
        if run.method.startswith("meta") and form != "smoke":
            # as many gradient steps as ordinary training takes
            assert run.overrides["train"]["meta"]["episodes_per_epoch"] * 10 == 300


def test_patients_are_in_one_split_and_the_list_is_kept(load_demo, source, tmp_path):
    demo = load_demo("test_time_training", "demo_data")
    output = demo.prepare(source / "hippocampus", tmp_path / "data")
    splits = json.loads((output / "splits.json").read_text())
    names = [set(splits[name]) for name in ("train", "valid", "test")]
    assert [len(own) for own in names] == [6, 2, 2]
    assert len(set.union(*names)) == 10
    assert set(splits["test"].values()) == {"hippocampus_007"}
    assert set(splits["valid"].values()) <= names[0]
    known = {path.name for path in (output / "known" / "truth").iterdir()}
    assert known == {f"{name}_0.nii.gz" for name in splits["valid"]}
    few = [path.name for path in (output / "few" / "fixed_images").iterdir()]
    assert few == [f"{next(iter(splits['valid']))}.nii.gz"]


def test_the_most_alike_atlases_come_first(load_demo, source):
    demo = load_demo("test_time_training", "demo_data")
    images = source / "hippocampus" / "images"
    names = [f"hippocampus_{n:03d}" for n in range(10)]
    found = demo.rank_atlases(images, names[:2], names[2:])
    assert list(found) == names[:2]
    for target, order in found.items():
        assert sorted(order) == names[2:]
        flat = [demo.read_scaled(images / f"{name}.nii.gz").ravel()
                for name in (target, *order)]  # fmt: skip
        alike = np.corrcoef(flat)[0, 1:]
        assert (np.diff(alike) <= 1e-6).all() and alike[0] > alike[-1]


@pytest.mark.parametrize("size", [(20, 24, 18), (26, 25, 31), (17, 23, 15)])
def test_a_field_on_the_networks_grid_comes_back_to_the_file(
    load_demo, monkeypatch, size
):
    """Voxel by voxel; where the file was cut, as at the border."""
    demo = load_demo("test_time_training", "demo_data")
    monkeypatch.setattr(demo, "SIZE", (20, 24, 18))
    places = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), -1) + 1.0
    moved = np.stack([demo.pad_or_cut(places[..., i]) for i in range(3)], -1)
    found = demo.undo_pad_or_cut(moved, size)
    assert found.shape == (*size, 3)
    inner = [slice(max(0, n - s) // 2, max(0, n - s) // 2 + min(n, s))
             for n, s in zip(size, (20, 24, 18), strict=True)]  # fmt: skip
    np.testing.assert_array_equal(found[tuple(inner)], places[tuple(inner)])
    edges = [np.clip(places[..., i], box.start + 1, box.stop)
             for i, box in enumerate(inner)]  # fmt: skip
    np.testing.assert_array_equal(found, np.stack(edges, -1))


@pytest.mark.parametrize("name", ["demons", "syn"])
def test_a_shift_is_found_and_scored_as_networks_are(load_demo, name):
    if name == "syn":
        pytest.importorskip("ants", reason="antspyx is not installed")
    classical = load_demo("test_time_training", "classical")
    image, label = volume(0, (24, 26, 22))
    moving = np.roll(image, (2, -1, 1), (0, 1, 2))
    ddf = getattr(classical, name)(moving / 400, image / 400)
    inner = ddf[6:-6, 6:-6, 6:-6].reshape(-1, 3)
    np.testing.assert_allclose(np.median(inner, axis=0), [2, -1, 1], atol=0.3)
    rolled = np.roll(label, (2, -1, 1), (0, 1, 2))
    before = classical.dice_of_warped(rolled, label, np.zeros_like(ddf), LABELS)
    after = classical.dice_of_warped(rolled, label, ddf, LABELS)
    assert all(after[name] > 0.9 > before[name] for name in after)


def test_labels_are_warped_linearly_and_to_the_nearest_voxel(load_demo):
    classical = load_demo("test_time_training", "classical")
    label = volume(0)[1]
    truth = np.broadcast_to([2.0, -1.0, 1.0], (*label.shape, 3))
    rolled = np.roll(label, (2, -1, 1), (0, 1, 2))
    for order in (0, 1):
        found = classical.dice_of_warped(rolled, label, truth, LABELS, order)
        assert found == {"anterior": 1, "posterior": 1}
    row = classical.score_rows(label, label, np.full((*label.shape, 3), 0.25), LABELS)
    assert row["dice_nearest"] == row["dice_nearest_anterior"] == 1  # nothing moves
    both = [row["dice_anterior"], row["dice_posterior"]]
    assert row["dice"] == pytest.approx(np.mean(both)) and row["dice"] < 1


def test_folds_are_counted_on_the_voxels_of_the_file(
    load_demo, source, tmp_path, monkeypatch
):
    """As those of networks are: where an image was padded there is nothing to fold."""
    demo, classical = (
        load_demo("test_time_training", name) for name in ("demo_data", "classical")
    )
    output = demo.prepare(source / "hippocampus", tmp_path / "data")

    def mirror(moving, fixed):
        """Fold the rows that the file has, (2, 22) of 24, and no other."""
        ddf = np.zeros((*fixed.shape, 3))
        ddf[2:22, ..., 0] = -2.0 * np.arange(20)[:, None, None]
        return ddf

    monkeypatch.setitem(classical.METHODS, "mirror", mirror)
    files = classical.Source(
        demo.read_scaled, demo.read_label, LABELS, restore=demo.undo_pad_or_cut
    )
    rows = classical.classical_rows("mirror", output / "valid", files)
    assert rows["positive"].tolist() == [0.0, 0.0]


def test_given_rivals_are_read_case_by_case(study, source):
    rows = study.peer_rows(source / "hippocampus")
    # their labels took the value of the nearest voxel
    assert rows["dice_nearest"].tolist() == pytest.approx([0.6, 0.6])
    assert "dice" not in rows
    assert rows["positive"].tolist() == [98.0, 98.0]
    assert set(rows["method"]) == {"SyN (given)"} and set(rows["test"]) == {"test"}
    assert study.peer_rows(source).empty


def test_labels_are_compared_as_both_were_warped(load_demo):
    comparison = load_demo("test_time_training", "comparison")
    demons = next(iter(comparison.METHODS))
    rows = pd.DataFrame(
        dict(method=method, seed=0, case=f"pair{case}", dice=linear + case / 10,
             dice_nearest=nearest + case / 10, epe_label=error - case / 10)
        for method, linear, nearest, error in (
            ("ours", 0.5, 0.4, 1.0), ("old", 0.6, np.nan, np.nan),
            (demons, 0.45, 0.3, 1.5), ("SyN (given)", np.nan, 0.42, np.nan))
        for case in range(3)
    )  # fmt: skip
    table = comparison.test_table(rows).set_index(["of", "ours", "other"])
    assert table["mean_difference"].to_dict() == pytest.approx(
        {("Dice", "ours", demons): 0.05, ("Dice", "old", demons): 0.15,
         ("EPE in the labels", "ours", demons): -0.5,
         ("Dice, nearest", "ours", "SyN (given)"): -0.02}
    )  # fmt: skip


TINY = """
base: [{base}]
config:
  dataset: {{image_shape: [16, 20, 16]}}
  train: {{epochs: 0, backbone: {{num_channel_initial: 2}}}}
methods: {{random: {{}}}}
data:
  hippocampus:
    train: hippocampus/train
    tests: {{choices: hippocampus/valid, known: hippocampus/known}}
    test_config:
      dataset:
        type: paired
        image_shape: null
        moving_image_shape: [16, 20, 16]
        fixed_image_shape: [16, 20, 16]
        labeled: true
        labels: {{anterior: 1, posterior: 2}}
      adapt: {{labels: [], keep: best}}
adaptations: {{field: {{field: {{scales: [1], steps: 2}}}}}}
seeds: [0]
"""


@pytest.mark.slow
def test_a_tiny_study_ends_with_its_report(
    study, source, tmp_path, registered, monkeypatch, plain_graphs
):
    plan = tmp_path / "tiny.yml"
    plan.write_text(TINY.format(base=study.HERE / "hippocampus.yaml"))
    monkeypatch.setitem(study.FORMS, "smoke", [plan])
    flags = ["--form", "smoke", "--from", str(source), "--jobs", "1",
             "--output", str(tmp_path / "out"), "--data-dir", str(tmp_path / "data"),
             "--only", "random", "--pack", str(tmp_path / "runs.zip")]  # fmt: skip
    assert study.main(flags) == 0
    rows = pd.read_csv(tmp_path / "out" / "rows.csv")
    assert set(rows["test"]) == {"choices", "known"}
    known = rows[rows["test"] == "known"]
    assert known["epe_before"].mean() == pytest.approx(4 * 3**0.5, rel=0.3)
    assert known["epe"].notna().all() and (rows["cpu_seconds"] > 0).all()
    report = (tmp_path / "out" / "report.md").read_text()
    assert "## Results: choices" in report and "demons (SimpleITK)" in report
    assert (tmp_path / "out" / "figures" / "dice_choices.png").is_file()
    classical = pd.read_csv(tmp_path / "out" / "classical.csv")
    assert set(classical["test"]) == {"choices", "known"}
    assert (
        rows["dice_nearest"].notna().all() and classical["dice_nearest"].notna().all()
    )
    assert (tmp_path / "runs.zip").is_file()


@pytest.mark.parametrize(
    ("script", "words", "message"),
    [
        ("study", [], "--from: expected a folder with hippocampus/images, got"),
        ("demo_data", [], "--from: expected a folder with hippocampus/images, got"),
        ("sequences", [], "--from: expected a folder with camus_echo, got"),
        ("sequence_data", [], "--from: expected a folder with camus_echo, got"),
        ("rivals", [], "--from: expected a folder with hippocampus or camus_echo, got"),
        ("study", ["--jobs", "0"], "--jobs: expected a number >= 1, got 0"),
    ],
)
def test_a_wrong_folder_is_told_by_its_flag(
    load_demo, tmp_path, capsys, script, words, message
):
    folder = tmp_path / "nothing"
    with pytest.raises(SystemExit) as end:
        load_demo("test_time_training", script).main(["--from", str(folder), *words])
    assert end.value.code == 2 and message in capsys.readouterr().err
