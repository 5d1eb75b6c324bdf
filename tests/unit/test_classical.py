"""Tests of deepreg_meta/classical.py and of the registration that it configures."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from deepreg_meta import register_pair
from deepreg_meta.classical import (
    DEFAULT,
    StoredGrid,
    classical_config,
    common_config,
    stored_grid,
)
from deepreg_meta.config import ConfigError, load_config
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.volume_file import save_volume
from deepreg_meta.registration import Registrar
from tests.helpers import without_xla, write_yaml

SHAPE, SPACING = (24, 22, 20), (1.0, 1.2, 0.8)
SHIFT = np.array([2.0, -1.0, 1.0])  # voxels, of the anatomy in the moving image


def blobs(centre_shift):
    """:return: three soft balls of one contrast, (24, 22, 20)."""
    grid = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1).astype(
        float
    )
    centres = np.array([[8, 8, 8], [14, 13, 7], [11, 9, 13]]) + centre_shift
    distances = ((grid[..., None, :] - centres) ** 2).sum(-1)
    return np.exp(-distances / (2 * 3.0**2)).sum(-1).astype(np.float32)


@pytest.fixture
def files(tmp_path):
    """:return: the fixed and the moving image."""
    affine = np.diag([*SPACING, 1.0])
    paths = []
    for name, shift in (("fixed", np.zeros(3)), ("moving", SHIFT)):
        paths.append(tmp_path / f"{name}.nii.gz")
        save_volume(paths[-1], blobs(shift), affine)
    return paths


def test_the_grids_are_those_of_the_files_unless_given(files, tmp_path):
    config = classical_config(*files)
    assert config.dataset.fixed_shape == config.dataset.moving_shape == SHAPE
    assert config.adapt.field_steps == (60, 60, 80)
    own = {
        "dataset": {"fixed_image_shape": [12, 11, 10]},
        "adapt": {"field": {"steps": 5}},
    }
    config = classical_config(*files, [write_yaml(tmp_path / "own.yaml", own)])
    assert config.dataset.fixed_shape == (12, 11, 10)
    assert config.dataset.moving_shape == SHAPE
    assert config.adapt.field_steps == (5, 5, 5)


def test_voxels_of_another_size_make_grids_of_other_shapes(files, tmp_path):
    """(24, 22, 20) voxels of 1, 1.2 and 0.8 mm; a nominal spacing replaces those."""
    own = {"dataset": {"grid": {"spacing_mm": 2}}}
    config = classical_config(*files, write_yaml(tmp_path / "own.yaml", own))
    assert config.dataset.fixed_shape == config.dataset.moving_shape == (12, 13, 8)
    turned = stored(files[0], "PIR", tmp_path)
    config = classical_config(files[0], turned, tmp_path / "own.yaml")
    assert config.dataset.moving_shape == (12, 13, 8)
    own["dataset"]["spacing_mm"] = {"moving": 1}
    config = classical_config(*files, write_yaml(tmp_path / "own.yaml", own))
    assert config.dataset.fixed_shape == (12, 13, 8)
    assert config.dataset.moving_shape == (12, 11, 10)


def test_a_stack_of_few_slices_is_registered_by_the_defaults(tmp_path):
    """Six slices, of which a quarter is too few for a gradient across them."""
    thin = []
    for name, shift in (("fixed", np.zeros(3)), ("moving", [2.0, -1.0, 0.0])):
        thin.append(tmp_path / f"thin_{name}.nii.gz")
        slices = blobs(np.asarray(shift))[..., 7:13]
        save_volume(thin[-1], slices, np.diag([1.0, 1.0, 4.0, 1.0]))
    steps = {"adapt": {"field": {"steps": [20, 20, 20]}}}
    config = classical_config(*thin, [write_yaml(tmp_path / "own.yaml", steps)])
    with without_xla():
        pair = Registrar(None, config=config).register(*thin)
    assert config.adapt.field.scales == (0.25, 0.5, 1.0)
    assert pair.scores["ncc_adapted"] > 0.99 > 0.9 > pair.scores["ncc_before"]


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"train": {"backbone": {"name": "voxelmorph1"}}},
         r"train\.backbone\.name in own\.yaml: expected identity with --classical"),
        ({"adapt": {"field": None}}, r"adapt\.field: expected updates with"),
        ({"adapt": {"field": {"step": 3}}}, r"adapt\.field\.step.*steps"),
        ({"dataset": {"grid": {"orientation": "RAX"}}},
         r"dataset\.grid\.orientation in own\.yaml: expected null or three letters"),
        ({"dataset": {"grid": [1]}}, r"dataset\.grid in own\.yaml: expected"),
    ],
)  # fmt: skip
def test_what_registers_otherwise_or_not_at_all_is_refused(
    files, tmp_path, own, message
):
    with pytest.raises(ConfigError, match=message):
        classical_config(*files, [write_yaml(tmp_path / "own.yaml", own)])


def stored(path, codes, tmp_path):
    """:return: a file of the same image whose axes point elsewhere."""
    image = nib.load(path)
    turns = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(image.affine),
        nib.orientations.axcodes2ornt(codes),
    )
    nib.save(image.as_reoriented(turns), tmp_path / f"{codes}.nii.gz")
    return tmp_path / f"{codes}.nii.gz"


def brief(tmp_path, **keys):
    """:return: the files of a configuration of one update, with further keys."""
    own = {"adapt": {"field": {"scales": [1], "steps": 1}}, **keys}
    return [write_yaml(tmp_path / "own.yaml", own)]


@pytest.mark.parametrize("codes", ["LAS", "PIR", "RAS"])
def test_an_image_stored_with_other_axes_lies_where_it_lies(files, tmp_path, codes):
    """Centre on centre, of one image: the identity, neither a mirror nor a turn."""
    moving = stored(files[0], codes, tmp_path)
    config = classical_config(files[0], moving, brief(tmp_path))
    assert config.dataset.fixed_shape == config.dataset.moving_shape == SHAPE
    turned = None if codes == "RAS" else "RAS"
    assert config.raw["dataset"]["grid"]["orientation"] == turned
    with without_xla():
        pair = Registrar(None, config=config).register(files[0], moving)
    matrix = pair.result.transform("before").matrix
    np.testing.assert_allclose(matrix, np.eye(4), atol=1e-4)
    assert np.linalg.det(matrix[:3, :3]) == pytest.approx(1, abs=1e-5)


def test_axes_of_ones_own_and_corner_on_corner_are_left_as_they_are(files, tmp_path):
    """(24, 22, 20) to R, A, S is (22, 20, 24) to P, I, R."""
    moving = stored(files[0], "PIR", tmp_path)
    grid = {"fit": "pad"}
    config = classical_config(
        files[0],
        moving,
        brief(tmp_path, dataset={"grid": grid | {"orientation": "SAL"}}),
    )
    assert config.dataset.grid.orientation == "SAL"
    assert config.dataset.fixed_shape == config.dataset.moving_shape == SHAPE[::-1]
    config = classical_config(files[0], moving, brief(tmp_path, dataset={"grid": grid}))
    assert (config.dataset.grid.fit, config.dataset.grid.orientation) == ("pad", "RAS")
    own = brief(tmp_path, align="corner")
    config = classical_config(files[0], moving, own)
    assert config.dataset.grid.orientation is None
    assert config.dataset.moving_shape == (22, 20, 24)


def test_files_that_state_no_axes_are_not_turned(files, tmp_path):
    image = nib.load(stored(files[0], "PIR", tmp_path))
    image.set_sform(image.affine, code=0)
    image.set_qform(image.affine, code=0)
    nib.save(image, tmp_path / "unplaced.nii.gz")
    config = classical_config(files[0], tmp_path / "unplaced.nii.gz")
    assert config.dataset.grid.orientation is None
    assert config.dataset.moving_shape == (22, 20, 24)


def test_a_known_shift_is_found_without_a_network(files, tmp_path):
    own = {"adapt": {"field": {"scales": [0.5, 1], "steps": [40, 40]}},
           "train": {"loss": {"regularization": {"weight": 0.05}}}}  # fmt: skip
    config = classical_config(*files, [write_yaml(tmp_path / "own.yaml", own)])
    with without_xla():
        registrar = Registrar(None, config=config)
        for option in ({"adapt_steps": 5}, {"adapt_seconds": 0.5}):
            with pytest.raises(ValueError, match="expected none without a network"):
                registrar.register(*files, **option)
        pair = registrar.register(*files)
    assert registrar.checkpoint == ""
    points = np.array([[8, 8, 8], [14, 13, 7], [11, 9, 13.0]]) * SPACING
    found = (pair.transform.map_points(points) - points) / SPACING
    # 2.4 voxels apart before
    assert np.linalg.norm(found - SHIFT, axis=1).max() < 0.3
    assert pair.scores["ncc_adapted"] > 0.99 > 0.9 > pair.scores["ncc_before"]
    pair.save(tmp_path / "out")
    saved = (tmp_path / "out" / "config.yaml").read_text()
    assert saved.startswith("# checkpoint none: no network took part")
    history = pd.read_csv(tmp_path / "out" / "adaptation.csv")
    assert history["scale"].tolist() == [0.5] * 40 + [1.0] * 40


def grids(*pairs):
    """:return: grids of files that state their place, from shapes and affines."""
    return [
        StoredGrid(Path(f"{number}.nii.gz"), Grid(shape, np.asarray(affine)), True)
        for number, (shape, affine) in enumerate(pairs)
    ]


PERMUTED = [[0, 0, 2, 0], [-1, 0, 0, 0], [0, 3, 0, 0], [0, 0, 0, 1.0]]  # axes P, S, R


def test_one_grid_holds_all_images_whose_voxels_are_alike():
    images = grids(((20, 9, 12), np.eye(4)), ((14, 15, 10), np.diag([1, 1, 1.0001, 1])))
    config = common_config(images)
    own = config.dataset
    assert own.fixed_shape == own.moving_shape == (20, 15, 12)
    assert (own.grid.fit, own.grid.spacing_mm, own.grid.orientation) == (
        "pad", None, None,
    )  # fmt: skip


def test_other_voxels_and_axes_are_brought_to_those_of_the_first_image():
    """(10, 8, 6) voxels to P, S, R of 1, 3 and 2 mm are 12 x 10 x 24 mm to R, A, S."""
    first = (20, 9, 12), np.diag([1.5, 2, 2.5, 1])
    own = common_config(grids(first, ((10, 8, 6), PERMUTED))).dataset
    assert own.grid.orientation == "RAS"
    assert own.grid.spacing_mm.fixed == own.grid.spacing_mm.moving == (1.5, 2, 2.5)
    assert own.fixed_shape == own.moving_shape == (20, 9, 12)
    # the other way round: 30 x 18 x 30 mm to R, A, S
    own = common_config(grids(((10, 8, 6), PERMUTED), first)).dataset
    assert own.grid.orientation == "PSR"
    assert own.grid.spacing_mm.fixed == (1, 3, 2)
    assert own.fixed_shape == (18, 10, 15)


def test_what_a_file_says_of_the_common_grid_goes_before(tmp_path):
    images = grids(((20, 9, 12), np.eye(4)), ((10, 8, 6), np.diag([2, 3, 1, 1])))
    wish = dict(fit="resize", spacing_mm=[2, 1, 1])
    path = tmp_path / "own.yaml"
    own = common_config(images, write_yaml(path, {"dataset": {"grid": wish}})).dataset
    assert (own.grid.fit, own.grid.spacing_mm.moving) == ("resize", (2, 1, 1))
    assert own.fixed_shape == (10, 24, 12)
    wish = {"dataset": {"fixed_image_shape": [8, 8, 8], "spacing_mm": 1}}
    own = common_config(images, write_yaml(path, wish)).dataset
    assert (own.fixed_shape, own.moving_shape) == ((8, 8, 8), (20, 9, 12))
    assert own.grid.spacing_mm is None  # all are said to have voxels of 1 mm
    with pytest.raises(ConfigError, match=r"dataset\.grid\.fit in own\.yaml: expected"):
        common_config(images, write_yaml(path, {"dataset": {"grid": {"fit": "pat"}}}))


def test_flat_images_share_a_grid_too():
    flat = np.diag([0.5, 0.4, 1, 1])
    images = grids(((30, 20, 1), flat), ((20, 30, 1), np.diag([0.5, 0.8, 3, 1])))
    own = common_config(images).dataset
    assert own.fixed_shape == own.moving_shape == (30, 60, 1)
    picture = images[0]._replace(path=Path("flat.png"), layout="picture")
    deep = grids(((5, 5, 4), np.eye(4)))
    with pytest.raises(
        ValueError, match=r"flat\.png: expected a volume, as 0\.nii\.gz"
    ):
        common_config([*deep, picture])


def test_images_of_other_shapes_and_axes_lie_where_they_lie_on_one_grid(
    files, tmp_path
):
    """Each file on the grid of all, beside a larger one: the known shift is found."""
    larger = tmp_path / "larger.nii.gz"
    save_volume(larger, np.pad(blobs(np.zeros(3)), 3), np.diag([*SPACING, 1.0]))
    turned = stored(files[1], "PIR", tmp_path)
    own = {"adapt": {"field": {"scales": [0.5, 1], "steps": [40, 40]}},
           "train": {"loss": {"regularization": {"weight": 0.05}}}}  # fmt: skip
    config = common_config(
        [stored_grid(path) for path in (files[0], turned, larger)],
        write_yaml(tmp_path / "own.yaml", own),
    )
    assert config.dataset.fixed_shape == (30, 28, 26)
    with without_xla():
        pair = Registrar(None, config=config).register(files[0], turned)
    points = np.array([[8, 8, 8], [14, 13, 7], [11, 9, 13.0]]) * SPACING
    found = (pair.transform.map_points(points) - points) / SPACING
    assert np.linalg.norm(found - SHIFT, axis=1).max() < 0.3


def test_a_registrar_needs_a_checkpoint_or_a_configuration():
    with pytest.raises(ValueError, match="ckpt_path: expected one, or a configuration"):
        Registrar(None)


def test_flags_of_networks_are_refused(files, tmp_path, capsys, caplog):
    flags = ["--fixed", str(files[0]), "--moving", str(files[1]),
             "--output", str(tmp_path / "out")]  # fmt: skip
    for own in (["--classical", "--ckpt_path", "logs/x"], []):
        with pytest.raises(SystemExit):
            register_pair.main([*flags, *own])
    assert "--ckpt_path" in capsys.readouterr().err
    assert register_pair.main([*flags, "--classical", "--adapt-steps", "3"]) == 2
    assert "--adapt-steps: expected none with --classical" in caplog.text
    assert not (tmp_path / "out").exists()


def test_an_image_of_two_axes_beside_a_volume_is_refused(files, tmp_path):
    """A volume of one slice is none: it has a place, and lies in the other one."""
    picture, plane = tmp_path / "flat.png", tmp_path / "plane.nii.gz"
    Image.fromarray(np.arange(480, dtype=np.uint8).reshape(24, 20)).save(picture)
    save_volume(plane, blobs(SHIFT)[..., 5], np.eye(4))
    for flat, found in ((picture, "a picture"), (plane, "an image of two axes")):
        message = (
            f"{flat.name}: expected a volume, as .*fixed.nii.gz is one of 20 slices, "
            f"got {found}"
        )
        for pair in ((files[0], flat), (flat, files[0])):
            with pytest.raises(ValueError, match=message):
                classical_config(*pair)
    one = tmp_path / "one.nii.gz"
    save_volume(one, blobs(SHIFT)[:, :20, :1], np.eye(4))
    assert classical_config(files[0], one).dataset.moving_shape[2] == 1
    assert classical_config(one, picture).dataset.moving_shape == (20, 24, 1)


def test_the_default_is_a_whole_configuration_but_for_the_shapes():
    shapes = {"moving_image_shape": [16] * 3, "fixed_image_shape": [16] * 3}
    config = load_config([DEFAULT], {"dataset": shapes})
    assert config.adapt.keep == "best" and not config.dataset.labeled
