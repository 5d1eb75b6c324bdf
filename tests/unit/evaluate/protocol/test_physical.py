"""Laws, hand-derived values and errors of deepreg_meta.evaluate.protocol.physical."""

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from deepreg_meta.evaluate.learn2reg import export_learn2reg
from deepreg_meta.evaluate.protocol import physical
from deepreg_meta.evaluate.protocol.pairs import Method, Pair, Pairs
from deepreg_meta.geometry.affine import from_parts
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.landmarks import Landmarks, save_landmarks
from deepreg_meta.geometry.transform import Affine, Field, Transform
from deepreg_meta.geometry.transform_file import save_transform

SPACING = np.array([1.5, 0.8, 2.0])


def grid(shape, turn=(0.2, -0.3, 0.4), origin=(3, -4, 7), spacing=SPACING):
    """A grid that is neither isotropic nor parallel to the axes of the world."""
    return Grid(
        shape, from_parts(Rotation.from_rotvec(turn).as_matrix() * spacing, origin)
    )


def field_of(own, matrix, offset=(0, 0, 0)):
    """A field that maps p to matrix p + offset."""
    points = own.to_world(np.stack(np.indices(own.shape), axis=-1))
    return Transform((Field(own, points @ np.transpose(matrix) + offset - points),))


def write(folder, own, name, voxels):
    path = folder / f"{name}.nii.gz"
    nib.save(nib.Nifti1Image(voxels.astype(np.float32), own.affine), path)
    return path


@pytest.fixture
def make(tmp_path, rng):
    """Return a function that writes a pair, its field included."""

    def build(fixed, moving, labels, transform, points=None, name="field.h5"):
        images = [
            write(tmp_path, own, f"{side}_image", rng.random(own.shape))
            for own, side in ((fixed, "fixed"), (moving, "moving"))
        ]
        maps = [
            write(tmp_path, own, f"{side}_label", label)
            for own, side, label in zip(
                (fixed, moving), ("fixed", "moving"), labels, strict=True
            )
        ]
        files = []
        for side, own in zip(("f", "m"), points or (), strict=False):
            names = tuple(map(str, range(len(own))))
            files.append(tmp_path / f"{side}.mrk.json")
            save_landmarks(files[-1], Landmarks(names, own))
        if name.startswith("disp_"):
            export_learn2reg(tmp_path, "1", "2", transform, fixed, moving)
        else:
            save_transform(tmp_path / name, transform, fixed)
        return Pair(
            "one",
            tuple(images),
            (tmp_path / name,),
            labels=tuple(maps),
            points={"landmarks": tuple(files)} if files else {},
        )

    return build


def score(pair, labels=None):
    return physical.score(
        pair, Pairs("test", (pair,), None, (Method("DSC", "dice", labels),))
    )


def box(shape, start, stop, value=1):
    label = np.zeros(shape)
    label[tuple(map(slice, start, stop))] = value
    return label


def test_a_shift_by_whole_voxels_is_measured_in_mm_and_undone_by_its_field(make):
    own = grid((12, 11, 10))
    shift = own.affine[:3, :3] @ [2, 0, 0]  # two voxels of 1.5 mm
    labels = box(own.shape, (2, 3, 3), (5, 7, 7)), box(own.shape, (4, 3, 3), (7, 7, 7))
    points = own.to_world([[3, 4, 5], [2, 2, 2]])
    transform = field_of(own, np.eye(3), shift)
    pair = make(own, own, labels, transform, (points, points + shift))
    case = score(pair).case
    # one of three slabs in common; the far slab is 2 voxels away
    assert case["dsc_before"] == pytest.approx(1 / 3)
    assert case["hd95_before_mm"] == pytest.approx(3.0)
    assert case["tre_before_mm"] == pytest.approx(3.0)
    assert case["dsc_registered"] == 1.0
    assert case["hd95_registered_mm"] == case["asd_registered_mm"] == 0.0
    assert case["tre_registered_mm"] == pytest.approx(0.0, abs=1e-5)
    assert case["num_landmarks"] == 2
    assert case["displacement_max_registered_mm"] == pytest.approx(3.0)
    assert case["overlap_before"] == 1.0
    assert case["overlap_registered"] == pytest.approx(10 / 12)


def test_images_are_compared_where_the_warped_one_has_values(make):
    own = grid((12, 11, 10))
    shift = own.affine[:3, :3] @ [2, 0, 0]
    labels = (np.ones(own.shape),) * 2
    pair = make(own, own, labels, field_of(own, np.eye(3), shift))
    fixed = nib.load(pair.images[0]).get_fdata()
    moved = np.zeros_like(fixed)
    moved[2:] = 3 * fixed[:-2] + 2
    write(pair.images[1].parent, own, "moving_image", moved)
    case = score(pair).case
    assert case["ncc_registered"] == pytest.approx(1.0)
    assert case["lncc_registered"] == pytest.approx(1.0, abs=1e-4)
    assert case["mse_registered"] == pytest.approx(np.mean((2 * fixed[:-2] + 2) ** 2))
    assert abs(case["ncc_before"]) < 0.2


def test_voxels_without_a_number_and_trailing_axes_of_one_are_left_out(make):
    """Both as ITK and FSL write them; of the rest the images are the same."""
    own = grid((12, 11, 10))
    labels = (np.ones(own.shape),) * 2
    pair = make(own, own, labels, field_of(own, np.eye(3)))
    image = nib.load(pair.images[1]).get_fdata(dtype=np.float32)
    image[:3] = np.nan
    for path, voxels in ((pair.images[0], image), (pair.labels[0], labels[0])):
        whole = nib.Nifti1Image(voxels[..., None].astype(np.float32), own.affine)
        nib.save(whole, path)
    assert physical.check(pair, None) == []
    case = score(pair).case
    assert case["mse_registered"] == pytest.approx(0, abs=1e-10)
    for name in ("ncc", "lncc"):
        assert case[f"{name}_registered"] == pytest.approx(1, abs=1e-5)
    assert case["dsc_registered"] == case["overlap_registered"] == 1.0


def test_folding_is_that_of_the_map_in_space_under_an_oblique_grid(make):
    own, moving = grid((7, 6, 5)), grid((6, 7, 8), (0, 0.1, 0.3), (1, 1, 1))
    labels = np.ones(own.shape), np.ones(moving.shape)
    matrix = np.array([[1.1, 0.2, 0.0], [0.3, 0.8, 0.1], [0.0, 0.5, 1.4]])
    for sign in (1, -1):  # mirrored in one plane, all folds
        mirrored = matrix * [sign, 1, 1]
        case = score(make(own, moving, labels, field_of(own, mirrored))).case
        determinant = np.linalg.det(mirrored)
        assert np.sign(determinant) == sign
        assert case["jacobian_min_registered"] == pytest.approx(determinant, rel=1e-4)
        assert case["folds_registered"] == (0.0 if sign > 0 else 1.0)


@pytest.mark.parametrize("name", ["field.h5", "field.nii.gz", "disp_1_2.nii.gz"])
def test_every_form_of_a_field_gives_the_same_figures(make, rng, name):
    fixed, moving = grid((9, 8, 7)), grid((9, 8, 7), (0.1, -0.2, 0.4), (3.5, -4, 6))
    labels = [
        box(fixed.shape, (2, 2, 1), (6, 6, 5))
        + box(fixed.shape, (7, 1, 1), (9, 5, 5), 2)
    ] * 2
    noise = Field(fixed, 0.5 * rng.normal(size=(*fixed.shape, 3)))
    transform = Transform((noise, Affine(from_parts(1.05 * np.eye(3), [0.2, 0.3, 0]))))
    points = fixed.to_world(rng.uniform(2, 5, size=(4, 3)))
    pair = make(fixed, moving, labels, transform, (points, points), name)
    if name.startswith("disp_"):  # whatever the header says
        field = nib.load(pair.fields[0])
        nib.save(nib.Nifti1Image(field.get_fdata(), 3 * np.eye(4)), pair.fields[0])
    case = score(pair).case
    errors = np.linalg.norm(transform.map_points(points) - points, axis=1)
    assert case["tre_registered_mm"] == pytest.approx(
        np.sqrt(np.mean(errors**2)), rel=1e-4
    )
    vectors = transform.as_field(fixed).vectors
    longest = np.linalg.norm(vectors, axis=-1).max()
    assert case["displacement_max_registered_mm"] == pytest.approx(longest, rel=1e-4)
    assert 0 < case["dsc_registered"] < 1


def test_a_turned_world_changes_no_figure(make):
    found = []
    turn = from_parts(Rotation.from_rotvec([0.5, 0.3, -0.7]).as_matrix(), [10, -20, 5])
    for outer in (np.eye(4), turn):
        fixed, moving = (
            Grid(own.shape, outer @ own.affine)
            for own in (grid((9, 8, 7)), grid((10, 9, 8), (0.1, -0.2, 0.4), (3, -4, 6)))
        )
        labels = (
            box(fixed.shape, (2, 2, 1), (6, 6, 5)),
            box(moving.shape, (3, 2, 1), (7, 6, 5)),
        )
        inner = from_parts(1.03 * np.eye(3), [0.4, -0.3, 0.5])
        transform = Transform((Affine(outer @ inner @ np.linalg.inv(outer)),))
        points = fixed.to_world([[3, 4, 5], [2, 2, 2]])
        pair = make(fixed, moving, labels, transform, (points, points + outer[:3, 0]))
        found.append(score(pair).case)
    for name in ("dsc", "hd95", "asd", "tre", "jacobian_min", "displacement_max"):
        keys = [key for key in found[0] if key.startswith(name)]
        assert keys
        for key in keys:
            if "displacement" not in key:  # that one moves with the origin
                assert found[0][key] == pytest.approx(found[1][key], rel=1e-4)


def test_structures_of_one_image_are_left_out_and_lost_ones_counted(make):
    own = grid((12, 11, 10))
    fixed = box(own.shape, (1, 1, 1), (4, 4, 4)) + box(
        own.shape, (6, 6, 6), (9, 9, 9), 2
    )
    fixed += box(own.shape, (1, 6, 6), (3, 8, 8), 3)  # in the fixed image alone
    moving = box(own.shape, (1, 1, 1), (4, 4, 4)) + box(
        own.shape, (10, 6, 6), (12, 9, 9), 2
    )
    away = field_of(own, np.eye(3), own.affine[:3, :3] @ [-2, 0, 0])
    scores = score(make(own, own, (fixed, moving), away))
    assert [row["label"] for row in scores.labels] == [1, 2]
    first, second = scores.labels
    assert first["dsc_before"] == 1.0 and first["dsc_registered"] == pytest.approx(
        1 / 3
    )
    assert (second["lost_before"], second["lost_registered"]) == (0, 1)
    assert second["dsc_registered"] == 0.0 and np.isnan(second["hd95_registered_mm"])
    case = scores.case
    assert case["dsc_registered"] == pytest.approx(1 / 6)
    assert case["hd95_registered_mm"] == first["hd95_registered_mm"] > 0
    assert (case["lost_before"], case["lost_registered"]) == (0, 1)
    assert [
        row["label"]
        for row in score(make(own, own, (fixed, moving), away), (2,)).labels
    ] == [2]


def test_files_that_cannot_be_scored_are_told_before(make, tmp_path):
    own, moving = grid((5, 6, 7)), grid((6, 6, 7))
    labels = np.ones(own.shape), np.ones(moving.shape)
    pair = make(own, moving, labels, Transform())
    pairs = Pairs("test", (pair,), None, ())
    assert physical.check(pair, pairs) == []
    write(tmp_path, own, "fixed_label", 0.5 * labels[0])
    with pytest.raises(ValueError, match="fixed_label.* index map of whole numbers"):
        physical.check(pair, pairs)
    write(tmp_path, own, "fixed_image", np.ones((5, 6, 7, 2)))
    with pytest.raises(ValueError, match=r"fixed_image.*got shape \(5, 6, 7, 2\)"):
        physical.check(pair, pairs)


def test_a_field_that_is_not_finite_or_on_another_grid_is_refused(make, tmp_path):
    own = grid((5, 6, 7))
    labels = (np.ones(own.shape),) * 2
    pair = make(own, own, labels, field_of(own, np.eye(3)), name="disp_1_2.nii.gz")
    pairs = Pairs("test", (pair,), None, ())
    field = np.zeros((5, 6, 7, 3), np.float32)
    field[1, 2, 3, 0] = np.inf
    nib.save(nib.Nifti1Image(field, own.affine), pair.fields[0])
    with pytest.raises(ValueError, match="finite displacement at every voxel, got 1"):
        physical.check(pair, pairs)
    nib.save(nib.Nifti1Image(field[:, :5], own.affine), pair.fields[0])
    with pytest.raises(ValueError, match=r"grid of the fixed image.*\(5, 5, 7, 3\)"):
        physical.check(pair, pairs)
    np.savez(tmp_path / "disp_1_2.npz", field[:, :5])
    with pytest.raises(ValueError, match=r"disp_1_2.npz: .*\(5, 5, 7, 3\)"):
        physical.read_transform(tmp_path / "disp_1_2.npz", own, own)


@pytest.mark.parametrize("name", ["disp_1_2.nii.gz", "field.nii.gz"])
def test_a_damaged_field_is_named(tmp_path, name):
    own = grid((5, 6, 7))
    (tmp_path / name).write_bytes(b"no image")
    with pytest.raises(ValueError, match=f"{name}: cannot be read"):
        physical.read_transform(tmp_path / name, own, own)


@pytest.mark.parametrize("name", ["disp_1_2.nii.gz", "disp_1_2.npz"])
def test_components_that_come_first_get_advice_that_helps(tmp_path, name):
    own = grid((5, 6, 7))
    field = np.zeros((3, 5, 6, 7), np.float32)
    for last in (field, np.moveaxis(field, 0, -1)):
        if name.endswith(".npz"):
            np.savez(tmp_path / name, last)
        else:
            nib.save(nib.Nifti1Image(last, own.affine), tmp_path / name)
        if last is field:
            with pytest.raises(
                ValueError, match=r"got shape \(3, 5, 6, 7\).*moveaxis\(field, 0, -1\)"
            ) as caught:
                physical.read_transform(tmp_path / name, own, own)
            assert "--protocol" not in str(caught.value)
    physical.read_transform(tmp_path / name, own, own)  # as advised


def test_structures_without_distances_are_told_once(caplog):
    rows = [
        {
            "case": "a",
            "hd95_registered_mm": 2.0,
            "lost_before": 0,
            "lost_registered": 2,
        },
        {
            "case": "b",
            "hd95_registered_mm": 1.0,
            "lost_before": 0,
            "lost_registered": 1,
        },
        {
            "case": "c",
            "hd95_registered_mm": 3.0,
            "lost_before": 0,
            "lost_registered": 0,
        },
    ]
    physical.aggregate(rows)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "Left out of HD95 and ASD" in record.getMessage()
    assert ": 3 structures in 2 cases (registered)." in record.getMessage()
    caplog.clear()
    physical.aggregate(rows[2:] + [{"case": "d", "mse_before": 1.0}])
    assert not caplog.records


def test_the_summary_leaves_out_what_is_missing():
    rows = [{"case": "a", "dsc_before": 0.5}, {"case": "b", "dsc_before": None}]
    rows += [{"case": "c", "dsc_before": 1.0}]
    (row,) = physical.aggregate(rows)
    assert (row["metric"], row["n"], row["mean"]) == ("dsc_before", 2, 0.75)
