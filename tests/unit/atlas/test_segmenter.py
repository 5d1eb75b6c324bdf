"""Tests of deepreg_meta/atlas/segmenter.py, result.py and run.py."""

from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from deepreg_meta.atlas.files import find_files, single
from deepreg_meta.atlas.fuse import Fusion
from deepreg_meta.atlas.options import Options
from deepreg_meta.atlas.run import segment_many, segment_one
from deepreg_meta.atlas.segmenter import Segmenter, segment
from deepreg_meta.evaluate import metric
from deepreg_meta.geometry.picture_file import save_picture
from deepreg_meta.geometry.resample import resample
from deepreg_meta.geometry.transform import Affine, Field, Transform
from deepreg_meta.geometry.volume_file import read_volume
from tests.unit.atlas.examples import (
    GRID,
    POSES,
    PoseRegistrar,
    config_of,
    write_all,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """:return: folder of images and labels."""
    return tmp_path_factory.mktemp("atlases")


@pytest.fixture(scope="module")
def files(folder):
    """:return: images with labels by name."""
    return {own.name: own for own in write_all(folder)}


@pytest.fixture
def registrar(tmp_path):
    return PoseRegistrar(config_of(tmp_path))


def atlases_of(files):
    return [own for name, own in files.items() if name != "target"]


@pytest.fixture
def segmented(registrar, files):
    """:return: the target by three atlases, with scores."""
    return segment(registrar, files["target"], atlases_of(files), Options(3))


# ---- choice ----


@pytest.mark.parametrize("select", ["ncc", "nlcc"])
def test_the_most_similar_atlases_are_chosen(registrar, files, select):
    """In the order of their poses; never the target itself, unless asked."""
    options = Options(2, select=select)
    segmenter = Segmenter(registrar, list(files.values()), options)
    found = segmenter.choose(files["target"])
    assert [own.files.name for own in found] == ["a1", "a2"]
    assert found[0].similarity > found[1].similarity
    options = Options(1, select=select, allow_self=True)
    [own] = Segmenter(registrar, list(files.values()), options).choose(files["target"])
    assert own.files.name == "target" and own.similarity == pytest.approx(1.0)


def test_atlases_that_are_meant_for_a_target_are_all_taken(registrar, files):
    segmenter = Segmenter(registrar, list(files.values()))
    named = [files["a3"], files["a2"]]
    found = segmenter.choose(files["target"], named)
    assert [own.files.name for own in found] == ["a2", "a3"]


def test_where_nothing_is_said_all_of_few_atlases_are_taken(registrar, files):
    """Five at most."""
    found = Segmenter(registrar, list(files.values())).choose(files["target"])
    assert [own.files.name for own in found] == ["a1", "a2", "a3"]


# ---- registration ----


def test_the_network_never_gets_labels(registrar, files):
    """Images alone are handed on, with how far to adapt."""
    options = Options(2, adapt_steps=3, keep="last", initial="header")
    segment(registrar, files["target"], atlases_of(files), options)
    given = {"adapt_steps": 3, "adapt_seconds": None, "keep": "last",
             "initial": "header"}  # fmt: skip
    assert registrar.calls == [("target", "a1", given), ("target", "a2", given)]


def test_labels_go_through_the_transform_to_the_targets_grid(
    registrar, files, segmented
):
    """Each structure by itself; or the nearest voxel."""
    nearest = segment(registrar, files["target"], atlases_of(files),
                      Options(3, interpolation="nearest"))  # fmt: skip
    for number, name in enumerate(("a1", "a2", "a3")):
        own = read_volume(files[name].label)
        pose = Transform((Affine(POSES[name]),))
        expected = resample(own.voxels, own.grid, GRID, pose, "nearest")
        np.testing.assert_array_equal(nearest.atlases[number].labels, expected)
        gland = (own.voxels == 1).astype(np.float32)
        share = resample(gland, own.grid, GRID, pose)
        linear = segmented.atlases[number].labels
        assert (linear[share > 0.5] == 1).all()
        assert (linear != expected).any()


def test_atlases_are_described(segmented):
    """Similarity rises by registration; warnings are kept."""
    rows = segmented.atlas_rows
    assert [row["atlas"] for row in rows] == ["a1", "a2", "a3"]
    assert [row["rank"] for row in rows] == [1, 2, 3]
    assert all(row["similarity_after"] > row["similarity_before"] for row in rows)
    assert [row["warning"] for row in rows] == ["", "", "far"]
    assert {row["seconds"] for row in rows} == {1.5}


# ---- templates ----


@pytest.fixture
def templates(files):
    """:return: two atlases as images without labels."""
    return [single(files[name].image) for name in ("a2", "a1")]


def through(registrar, files, templates, options):
    """:return: the target, segmented by one atlas directly and through templates."""
    segmenter = Segmenter(registrar, [files["a3"]], options, templates)
    return segmenter.segment(files["target"])


def test_labels_come_through_templates_too(registrar, files, templates):
    """By both transforms, one after the other; the most similar template first."""
    found = through(registrar, files, templates, Options(1))
    assert [(own.files.name, own.template) for own in found.atlases] == [
        ("a3", ""), ("a3", "a1"), ("a3", "a2")
    ]  # fmt: skip
    assert [call[:2] for call in registrar.calls] == [
        ("target", "a3"),
        *(("target", "a1"), ("a1", "a3")),
        *(("target", "a2"), ("a2", "a3")),
    ]
    direct, first, second = found.atlases
    for own in (first, second):  # poses are known, so that all ways are one
        np.testing.assert_array_equal(own.labels, direct.labels)
        assert own.after == pytest.approx(direct.after, abs=1e-6)
        assert own.seconds == 3.0 and own.warning == "far"
    assert first.before > second.before > direct.before
    assert (
        "1 atlas, directly and through 2 templates, ordered by `ncc`, labels fused"
        in found.how
    )
    assert "| 2 | a3 | a1 |" in found.describe()


def test_a_way_that_errs_is_outvoted(registrar, files, templates):
    """The direct way is far off, both others are right."""
    right = registrar.register

    def register(fixed, moving, **options):
        found = right(fixed, moving, **options)
        if (fixed, moving) == (files["target"].image, files["a3"].image):
            found.transform = Transform((Affine(np.eye(4)),))
        return found

    registrar.register = register
    options = Options(1, fusion=Fusion("majority"))
    found = through(registrar, files, templates, options)
    rows = pd.DataFrame(found.structure_rows)
    gland = rows[rows["structure"] == "gland"].set_index("rank")["dsc"]
    assert gland[1] < 0.8 < 0.94 < min(gland[2], gland[3], gland[0])


def test_all_atlases_share_the_way_to_a_template(registrar, files, templates):
    """And the next target has the ways on from it."""
    options = Options(2, num_templates=1)
    atlases = [files["a3"], files["a2"]]
    segmenter = Segmenter(registrar, atlases, options, templates[1:])
    numbers = segmenter.numbers(files["target"])
    assert numbers == (2, 1) and numbers.registrations == 5
    ticks = []
    segmenter.segment(files["target"], on_pair=lambda: ticks.append(1))
    assert len(ticks) == len(registrar.calls) == 5
    segmenter.segment(files["target"], on_pair=lambda: ticks.append(1))
    again = [call[:2] for call in registrar.calls[5:]]
    assert again == [("target", "a2"), ("target", "a3"), ("target", "a1")]
    assert len(ticks) == 10


def test_ways_that_there_is_no_room_for_are_found_anew(tmp_path, files, templates):
    registrar = PoseRegistrar(config_of(tmp_path, dict(cache_gb=0.0)))
    grid = read_volume(files["target"].image).grid
    still = Transform((Field(grid, np.zeros((*grid.shape, 3), np.float32)),))
    registrar.register = lambda *paths, **options: (
        registrar.calls.append(paths)
        or SimpleNamespace(transform=still, scores={"seconds": 1.0}, warnings=[])
    )
    segmenter = Segmenter(registrar, [files["a3"]], Options(1), templates)
    for _ in range(2):
        segmenter.segment(files["target"])
    assert len(registrar.calls) == 10


def test_target_and_atlases_are_no_templates(registrar, files):
    every = [single(own.image) for own in files.values()]
    options = Options(1, num_templates=2)
    found = through(registrar, files, every, options)
    assert [own.template for own in found.atlases] == ["", "a1", "a2"]
    for number in (0, 3):
        with pytest.raises(ValueError, match=f"--num-templates: .* 1 to 2, .*{number}"):
            through(registrar, files, every, Options(1, num_templates=number))
    alone = [single(files["a3"].image)]
    with pytest.raises(ValueError, match="--template-images: .*none among 1"):
        through(registrar, files, alone, Options(1))


def test_scores_tell_ways_apart(registrar, files, templates, tmp_path):
    segmenter = Segmenter(registrar, [files["a3"]], Options(1), templates)
    jobs = [(files["target"], None)]
    text = segment_many(segmenter, jobs, tmp_path, figures=False)
    table = pd.read_csv(tmp_path / "summary.csv")
    assert list(dict.fromkeys(table["method"])) == [
        "fused", "most similar atlas", "single atlases, mean",
        "through one template, mean",
    ]  # fmt: skip
    assert "through 2 templates" in text
    rows = pd.read_csv(tmp_path / "atlases.csv", keep_default_na=False)
    assert list(rows["template"]) == ["", "a1", "a2"]


# ---- fusion and scores ----


@pytest.mark.parametrize(
    "fusion",
    [
        Fusion("majority"),
        Fusion("weighted"),
        Fusion("weighted", "global"),
        Fusion("joint", search_radius=1),
        Fusion("staple"),
    ],
    ids=lambda fusion: f"{fusion.method} {fusion.weights}",
)
def test_good_registration_gives_good_segmentations(registrar, files, fusion):
    """Better than any atlas alone, with every fusion; truth is for scores alone."""
    found = segment(registrar, files["target"], atlases_of(files),
                    Options(3, fusion=fusion))  # fmt: skip
    assert found.dsc["gland"] > 0.95 and found.dsc["cyst"] > 0.65
    for name, dsc in found.dsc.items():
        rows = [row for row in found.structure_rows if row["structure"] == name]
        assert len(rows) == 4 and all(dsc > row["dsc"] for row in rows[1:])
    blind = segment(registrar, files["target"].image, atlases_of(files),
                    Options(3, fusion=fusion))  # fmt: skip
    np.testing.assert_array_equal(blind.labels, found.labels)
    assert blind.dsc == {}


def test_images_reach_the_fusion_with_their_own_atlas(registrar, files, monkeypatch):
    """And the target; where patches are not compared, nothing is warped for them."""
    given = []

    def fuse(labels, fusion, images, target, similarities):
        given.append((labels, images, target, similarities, fusion))
        return labels[0]

    monkeypatch.setattr("deepreg_meta.atlas.segmenter.fuse", fuse)
    options = Options(3, fusion=Fusion(beta=3.0))
    found = segment(registrar, files["target"], atlases_of(files), options)
    [(labels, images, target, similarities, fusion)] = given
    assert fusion == options.fusion
    for own, label, image, value in zip(
        found.atlases, labels, images, similarities, strict=True
    ):
        np.testing.assert_array_equal(label, own.labels)
        assert value == own.after
        assert metric.ncc(image, target) > 0.9
    segment(registrar, files["target"], atlases_of(files),
            Options(3, fusion=Fusion("majority")))  # fmt: skip
    assert given[1][1] is None and given[1][2] is None


def test_structures_are_scored_fused_and_atlas_by_atlas(segmented, files):
    """By the names of the run's configuration."""
    rows = pd.DataFrame(segmented.structure_rows)
    assert list(rows["atlas"]) == [x for x in ("fused", "a1", "a2", "a3") for _ in "ab"]
    assert list(rows["structure"][:2]) == ["gland", "cyst"]
    truth = read_volume(files["target"].label).voxels
    fused = rows[rows["rank"] == 0].set_index("value")
    for value in (1, 4):
        pair = truth == value, segmented.labels == value
        assert fused.loc[value, "dsc"] == metric.dsc(*pair)
        distance = metric.hd95(*pair, GRID.spacing_mm)
        assert fused.loc[value, "hd95_mm"] == pytest.approx(distance)
        size = np.prod(GRID.spacing_mm) * pair[1].sum()
        assert fused.loc[value, "volume_mm3"] == pytest.approx(size)
    assert segmented.dsc == {"gland": fused.loc[1, "dsc"], "cyst": fused.loc[4, "dsc"]}


def test_structures_without_a_name_go_by_their_values(tmp_path, files):
    registrar = PoseRegistrar(config_of(tmp_path, dict(labels=None)))
    found = segment(registrar, files["target"], atlases_of(files), Options(1))
    assert found.names == {1: "1", 4: "4"}


def test_a_nominal_spacing_counts_voxels(tmp_path, files):
    registrar = PoseRegistrar(config_of(tmp_path, dict(spacing_mm=2.0)))
    found = segment(registrar, files["target"], atlases_of(files), Options(1))
    row = found.structure_rows[0]
    assert row["volume_vox3"] == 8 * (found.labels == 1).sum() and "hd95_vox" in row


# ---- files ----


def test_what_is_written_lies_over_the_target(segmented, files, tmp_path):
    text = segmented.save(tmp_path / "out")
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"segmentation.nii.gz", "segmentation.md", "atlases.csv",
                       "structures.csv", "figure.png"}  # fmt: skip
    image = nib.load(tmp_path / "out" / "segmentation.nii.gz")
    np.testing.assert_array_equal(np.asarray(image.dataobj), segmented.labels)
    assert image.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(image.affine, nib.load(files["target"].image).affine)
    table = pd.read_csv(tmp_path / "out" / "structures.csv")
    np.testing.assert_allclose(
        table["dsc"], [row["dsc"] for row in segmented.structure_rows], atol=1e-5
    )
    assert list(pd.read_csv(tmp_path / "out" / "atlases.csv")["atlas"]) == [
        "a1", "a2", "a3"
    ]  # fmt: skip
    assert (tmp_path / "out" / "segmentation.md").read_text() == text + "\n"
    assert (
        "| a1 |" in text
        and "3 atlases, ordered by `ncc`, labels fused by `joint`" in text
    )
    assert segmented.save(tmp_path / "out", figure=False) == text  # in its place
    assert not (tmp_path / "out" / "figure.png").exists()


def test_a_folder_of_other_files_is_left_alone(segmented, tmp_path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(ValueError, match="--output: .*mine.txt"):
        segmented.save(tmp_path)


def test_one_image_is_written_with_a_bar(registrar, files, tmp_path, capsys):
    segmenter = Segmenter(registrar, atlases_of(files), Options(2))
    text = segment_one(segmenter, (files["target"], None), tmp_path / "one")
    assert (tmp_path / "one" / "segmentation.nii.gz").is_file()
    assert text.startswith("# target\n\n2 atlases")
    assert "2/2" in capsys.readouterr().err


def test_many_images_have_folders_and_one_table(registrar, files, tmp_path, capsys):
    """Mean and deviation over the images; atlases of each as they are meant for it."""
    segmenter = Segmenter(registrar, list(files.values()))
    jobs = [(files["target"], [files["a1"], files["a2"]]),
            (files["a2"], [files["target"]])]  # fmt: skip
    text = segment_many(segmenter, jobs, tmp_path, figures=False)
    assert "3/3" in capsys.readouterr().err
    rows = pd.read_csv(tmp_path / "structures.csv")
    assert set(rows["target"]) == {"target", "a2"}
    assert len(pd.read_csv(tmp_path / "atlases.csv")) == 3
    summary = pd.read_csv(tmp_path / "summary.csv").set_index(["method", "structure"])
    fused = rows[(rows["rank"] == 0) & (rows["structure"] == "gland")]["dsc"]
    found = summary.loc[("fused", "gland")]
    assert found["dsc_n"] == 2
    assert found["dsc_mean"] == pytest.approx(fused.mean(), abs=1e-5)
    assert found["dsc_sd"] == pytest.approx(fused.std(), abs=1e-5)
    assert f"{fused.mean():.3f} ± {fused.std():.3f}" in text
    assert (tmp_path / "summary.md").read_text() == text + "\n"
    for name in ("target", "a2"):
        labels = read_volume(tmp_path / name / "segmentation.nii.gz")
        assert labels.grid.is_same(GRID)


def test_many_images_without_truth_have_no_scores(registrar, files, folder, tmp_path):
    targets = find_files([folder / "images" / "target.nii.gz"], None)
    segmenter = Segmenter(registrar, atlases_of(files), Options(1))
    text = segment_many(segmenter, [(targets[0], None)], tmp_path, figures=False)
    assert text == "# 1 images\n\n1 atlas, ordered by `ncc`."
    assert not (tmp_path / "summary.csv").exists()
    assert "dsc" not in pd.read_csv(tmp_path / "structures.csv")


def test_too_few_atlases_of_any_target_are_told_before_the_first_is_registered(
    registrar, files, tmp_path
):
    segmenter = Segmenter(registrar, list(files.values()))
    jobs = [(files["target"], [files["a1"]]), (files["a1"], [files["a1"]])]
    with pytest.raises(ValueError, match="--allow-self") as told:
        segment_many(segmenter, jobs, tmp_path)
    assert "other than the target itself, got none for" in str(told.value)
    assert registrar.calls == []


def test_a_truth_without_a_structure_is_told_before(registrar, tmp_path):
    """Any Dice would be 0."""
    own = {one.name: one for one in write_all(tmp_path)}
    target = own["target"]
    label = nib.load(target.label)
    empty = np.zeros(label.shape, np.uint8)
    nib.save(nib.Nifti1Image(empty, label.affine), target.label)
    segmenter = Segmenter(registrar, [own["a1"], own["a2"]], Options(1))
    with pytest.raises(ValueError, match="target.*at least one structure, got zeros"):
        segmenter.check([(target, None)])
    segmenter.check([(target._replace(label=None), None)])


def test_files_that_cannot_be_used_are_told_before_the_first_is_registered(
    registrar, tmp_path
):
    """All of them, by name: what was done before would be lost."""
    own = {one.name: one for one in write_all(tmp_path)}

    def spoil(path, change):
        image = nib.load(path)
        voxels = np.asarray(image.dataobj).astype(np.float32)
        nib.save(nib.Nifti1Image(change(voxels), image.affine), path)

    jobs = [(own["target"], None), (own["a1"], None), (own["a3"], None)]
    segmenter = Segmenter(registrar, [own["a1"], own["a2"]], Options(1))
    segmenter.check(jobs)
    spoil(own["a3"].image, lambda voxels: np.where(voxels > 0.5, np.nan, voxels))
    spoil(own["a2"].label, np.zeros_like)
    with pytest.raises(ValueError, match="Nothing was segmented") as error:
        segment_many(
            Segmenter(registrar, segmenter._atlases, Options(1)), jobs, tmp_path
        )
    text = str(error.value)
    assert "a3.nii.gz: expected finite intensities" in text
    assert "a2.nii.gz: expected an index map with at least one structure" in text
    assert len([line for line in text.splitlines() if ": expected" in line]) == 2
    spoil(own["a2"].label, np.ones_like)
    spoil(own["a1"].image, lambda voxels: np.full_like(voxels, np.inf))  # told once
    with pytest.raises(ValueError, match="Nothing was segmented") as error:
        Segmenter(registrar, [own["a1"], own["a2"]], Options(1)).check(
            [(own["target"], [own["a1"]]), *jobs[:1] * 3]
        )
    assert str(error.value).count("a1.nii.gz: expected finite") == 1
    assert registrar.calls == []


def test_an_atlas_without_structures_is_refused_before_it_is_registered(
    registrar, tmp_path
):
    own = {one.name: one for one in write_all(tmp_path)}
    zeros = np.zeros(GRID.shape, np.int16)
    for values, rule in (
        (zeros, "at least one structure"),
        (zeros - 1, "from 0 to 6553"),
    ):
        nib.save(nib.Nifti1Image(values, GRID.affine), own["a1"].label)
        with pytest.raises(
            ValueError, match=f"a1.nii.gz: expected an index map .*{rule}"
        ):
            Segmenter(registrar, [own["a1"]]).segment(own["target"])
    assert registrar.calls == []


# ---- images of two axes ----


def test_pictures_are_segmented_as_pictures(tmp_path, rng):
    """A structure moved by two columns: found as it is, in pixels, in a PNG."""
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
    texture = rng.random((30, 26)) * 60
    for name, shift in (("target", 0), ("a", 2), ("b", 2)):
        label = np.zeros((30, 26), np.uint8)
        label[10:20, 8 + shift : 16 + shift] = 3
        image = np.roll(texture, shift, axis=1) + 50 * label
        save_picture(tmp_path / "images" / f"{name}.png", image.T[..., None])
        save_picture(tmp_path / "labels" / f"{name}.png", label.T[..., None])
    shape = dict(moving_image_shape=[24, 32], fixed_image_shape=[24, 32])
    registrar = PoseRegistrar(config_of(tmp_path, dict(labels={"wall": 3}, **shape)))
    world = np.eye(4)
    world[0, 3] = -2  # two columns on, in RAS
    shifted = SimpleNamespace(
        transform=Transform((Affine(world),)), scores={"seconds": 0.1}, warnings=[]
    )
    registrar.register = lambda *paths, **options: shifted
    files = find_files([tmp_path / "images"], [tmp_path / "labels"])
    for fusion in (Fusion("joint", search_radius=1), Fusion("majority")):
        found = segment(registrar, files[2], files[:2], Options(2, fusion=fusion))
        assert found.labels.shape == (26, 30, 1) and found.dsc == {"wall": 1.0}
        assert found.structure_rows[0]["area_vox2"] == 80.0
    found.save(tmp_path / "out")
    pixels = np.asarray(Image.open(tmp_path / "out" / "segmentation.png"))
    truth = np.asarray(Image.open(files[2].label))
    np.testing.assert_array_equal(pixels, truth)
    assert (tmp_path / "out" / "figure.png").is_file()


# ---- what cannot be ----


def test_a_run_that_aligns_by_labels_needs_another_start(tmp_path, files):
    registrar = PoseRegistrar(config_of(tmp_path, align="centroid"))
    message = "--initial: the run aligns by 'centroid', which needs labels"
    with pytest.raises(ValueError, match=message):
        Segmenter(registrar, atlases_of(files))
    Segmenter(registrar, atlases_of(files), Options(initial="center"))


def test_a_run_that_compares_labels_alone_cannot_adapt(tmp_path, files):
    registrar = PoseRegistrar(config_of(tmp_path, image=None))
    message = "--adapt-steps: the run's loss compares labels alone"
    with pytest.raises(ValueError, match=message):
        Segmenter(registrar, atlases_of(files), Options(adapt_steps=2))
    with pytest.raises(ValueError, match=message):
        Segmenter(registrar, atlases_of(files), Options(adapt_seconds=2.0))
    Segmenter(registrar, atlases_of(files), Options(adapt_steps=0))


def test_another_measure_is_refused():
    with pytest.raises(ValueError, match="--select: expected one of ncc, nlcc"):
        Options(select="mse")


def test_a_single_file_may_lie_anywhere(registrar, files, tmp_path):
    target = single(files["target"].image, files["target"].label)
    found = segment(registrar, target, atlases_of(files), Options(1))
    assert found.name == "target" and found.dsc["gland"] > 0.9
