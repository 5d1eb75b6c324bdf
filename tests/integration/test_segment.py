"""
Segmentation by atlases from the command line, by a network whose weights are random.

TensorFlow has no name of its own here, see tests/unit/test_registration.py.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from deepreg_meta import segment
from deepreg_meta.atlas.files import find_files
from deepreg_meta.atlas.options import Options
from deepreg_meta.atlas.segmenter import Segmenter
from deepreg_meta.atlas.view import NetworkView
from deepreg_meta.checkpoint_path import training_data
from deepreg_meta.config import load_config
from deepreg_meta.geometry.resample import resample
from deepreg_meta.geometry.transform import Affine, Transform
from deepreg_meta.geometry.transform_file import save_transform
from deepreg_meta.geometry.volume_file import read_volume
from deepreg_meta.registration import Registrar
from tests.helpers import without_xla
from tests.pairs import grid_at, run_of, turn, write_run
from tests.unit.atlas.examples import write_atlas

GRIDS = {
    "target": grid_at((13, 15, 11), (1.2, 1.0, 1.5), (10, -5, 20)),
    "a": grid_at((16, 14, 12), (1.0, 1.1, 1.6), (-8, 5, 12)),
    "b": grid_at((14, 15, 13), (1.1, 1.1, 1.3), (4, -6, 2), (-1, 1, 1)),
}
POSES = {"target": turn((0, 0, 0)), "a": turn((4, 2, -3), (1, -1, 0.5)),
         "b": turn((-3, 6, 2), (-1.5, 0.5, 1))}  # fmt: skip
DATASET = dict(labels={"gland": 1, "cyst": 4},
               grid=dict(spacing_mm=[1.5, 1.2, 1.4], fit="pad"))  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def plain_graphs():
    with without_xla():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """:return: folder of a run of random weights, of images and of labels."""
    folder = tmp_path_factory.mktemp("segmentation")
    for name, grid in GRIDS.items():
        write_atlas(folder, name, POSES[name], grid)
    write_run(folder / "run", run_of(dataset=DATASET))
    return folder


@pytest.fixture(scope="module")
def files(folder):
    found = find_files([folder / "images"], [folder / "labels"])
    return {own.name: own for own in found}


@pytest.fixture(scope="module")
def registrar(folder):
    return Registrar(str(folder / "run"))


@pytest.mark.parametrize("initial", ["config", "center", "header", "mass", "file"])
def test_images_are_compared_where_the_registration_starts(
    registrar, files, folder, initial
):
    """The same initial alignment, whatever it is."""
    if initial == "file":
        initial = str(folder / "start.tfm")
        matrix = turn((3, -4, 5), (1, 2, -1))
        save_transform(initial, Transform((Affine(matrix),)), GRIDS["target"])
    paths = files["target"].image, files["b"].image
    pair = registrar.register(*paths, initial=initial, adapt_steps=0)
    expected = pair.result.transform("before").matrix
    description = training_data(registrar.checkpoint)
    view = NetworkView(registrar.config, initial, description)
    case = view.case(*paths)
    np.testing.assert_allclose(view.start(case).matrix, expected, atol=1e-3)
    for side in ("fixed", "moving"):
        own, other = (getattr(x, f"{side}_image") for x in (case, pair.result.case))
        np.testing.assert_array_equal(own, other)


def words_of(folder: Path, *more: str) -> list[str]:
    return [
        *("--atlas-images", f"{folder}/images", "--atlas-labels", f"{folder}/labels"),
        *("--ckpt_path", f"{folder}/run", "--num-atlases", "2", "--adapt-steps", "1"),
        *("--initial", "header", *more),
    ]


def test_a_command_segments_an_image(folder, files, registrar, tmp_path, capsys):
    """As Python does; each atlas' labels lie where the registration leads them."""
    target = files["target"]
    words = ["--target", f"{target.image}", "--target-label", f"{target.label}"]
    out = tmp_path / "out"
    words = words_of(folder, *words, "--fusion", "majority", "--output", str(out))
    assert segment.main([*words, "--label-interpolation", "nearest"]) == 0
    text = capsys.readouterr().out
    assert "| fused | gland |" in text and "| 1 |" in text
    options = Options(2, interpolation="nearest", adapt_steps=1, initial="header")
    segmenter = Segmenter(registrar, list(files.values()), options)
    found = segmenter.segment(target)
    table = pd.read_csv(out / "atlases.csv")
    assert list(table["atlas"]) == [own.files.name for own in found.atlases]
    np.testing.assert_allclose(
        table["similarity_after"], [own.after for own in found.atlases], atol=1e-4
    )
    name = found.atlases[0].files.name
    pair = registrar.register(
        target.image, files[name].image, adapt_steps=1, initial="header"
    )
    own = read_volume(files[name].label)
    grid = read_volume(target.image).grid
    expected = resample(own.voxels, own.grid, grid, pair.transform, "nearest")
    np.testing.assert_array_equal(found.atlases[0].labels, expected)
    assert (expected > 0).any()
    # of two atlases without a majority the most similar one decides
    fused = read_volume(out / "segmentation.nii.gz")
    np.testing.assert_array_equal(fused.voxels, expected)
    assert fused.grid.is_same(grid)
    assert "checkpoint" in (out / "config.yaml").read_text()
    used = load_config(out / "config.yaml").adapt
    assert (used.steps, used.keep) == (1, "best")
    assert registrar.config.adapt.keep == "last"


def test_a_command_segments_all_images_by_pairs(folder, tmp_path, capsys, untraced):
    """The network is compiled once; a table over all of them."""
    pairs = tmp_path / "pairs.json"
    pairs.write_text('{"target": "a", "b": ["a", "target"]}')
    out = tmp_path / "out"
    words = ["--targets", f"{folder}/images", "--target-labels", f"{folder}/labels"]
    words = words_of(folder, *words, "--pairs", str(pairs), "--output", str(out))
    del words[words.index("--num-atlases") : words.index("--initial")]
    assert segment.main(words) == 0
    rows = pd.read_csv(out / "structures.csv")
    assert list(rows.drop_duplicates("target")["target"]) == ["target", "b"]
    assert list(rows[rows["target"] == "b"]["rank"].unique()) == [0, 1, 2]
    assert (out / "b" / "figure.png").is_file()
    text = capsys.readouterr().out
    assert "Mean ± SD over the images" in text and "| fused |" in text


def test_labels_do_not_reach_the_network(files, registrar, monkeypatch):
    """Though the run learned from labels: what it is given has none."""
    given = []
    original = Registrar._run_network

    def run(self, ready, tuner):
        labels = ready.case.moving_labels, ready.case.fixed_labels
        given.append((ready.config.dataset.labeled, *labels))
        return original(self, ready, tuner)

    monkeypatch.setattr(Registrar, "_run_network", run)
    assert registrar.config.dataset.labeled
    options = Options(1, adapt_steps=1, initial="header")
    Segmenter(registrar, [files["a"]], options).segment(files["target"])
    assert given == [(False, None, None)]


def test_many_targets_of_one_grid_compile_once(files, registrar):
    """No graph is traced for the second image, nor for the second atlas."""
    options = Options(1, adapt_steps=1, initial="header")
    segmenter = Segmenter(registrar, list(files.values()), options)
    segmenter.segment(files["target"])
    model = registrar._models["affine", False]
    traces = model.predict_function.experimental_get_tracing_count()
    segmenter.segment(files["a"])
    segmenter.segment(files["b"])
    assert model.predict_function.experimental_get_tracing_count() == traces


def test_without_a_network_labels_come_by_the_displacements_alone(folder, tmp_path):
    """Images of other voxels, shapes and axes, on one grid."""
    own, found = tmp_path / "own.yaml", {}
    for steps in (1, 20):
        own.write_text(f"adapt: {{field: {{scales: [1/2, 1], steps: {steps}}}}}")
        words = [
            *("--target", f"{folder}/images/target.nii.gz"),
            *("--target-label", f"{folder}/labels/target.nii.gz"),
            *("--atlas-images", f"{folder}/images", "--atlas-labels"),
            *(f"{folder}/labels", "--classical", "--config", str(own), "--no_png"),
            *("--output", str(tmp_path / str(steps))),
        ]
        assert segment.main(words) == 0
        scores = pd.read_csv(tmp_path / str(steps) / "structures.csv")
        is_gland = (scores["atlas"] == "fused") & (scores["structure"] == 1)
        found[steps] = scores[is_gland]["dsc"].item()
    assert found[20] > 0.89 and found[20] > found[1] + 0.03
    saved = (tmp_path / "20" / "config.yaml").read_text()
    assert saved.startswith("# checkpoint none: no network took part")
    similar = pd.read_csv(tmp_path / "20" / "atlases.csv")
    assert (similar["similarity_after"] > similar["similarity_before"]).all()
