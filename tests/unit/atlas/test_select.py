"""Tests of deepreg_meta/atlas/select.py."""

from pathlib import Path

import pytest

from deepreg_meta.atlas.select import candidates, rank
from deepreg_meta.dataset.image_folder import ImageFiles


def files(name, folder="images"):
    return ImageFiles(name, Path(folder) / f"{name}.nii.gz", Path("l.nii.gz"))


ATLASES = [files("c", "first"), files("a"), files("d"), files("b")]


def test_the_most_similar_come_first_and_equal_ones_by_name():
    """In whatever order they are given; what cannot be measured comes last."""
    values = {"a": 0.5, "b": 0.9, "c": 0.5, "d": float("nan")}
    for given in (ATLASES, ATLASES[::-1]):
        found = rank(given, 4, lambda own: values[own.name])
        assert [own.files.name for own in found] == ["b", "a", "c", "d"]
        assert [own.similarity for own in found[:3]] == [0.9, 0.5, 0.5]
    assert [own.files.name for own in rank(ATLASES, 2, lambda own: -1.0)] == ["a", "b"]


def test_a_target_is_not_its_own_atlas_unless_asked():
    others, number = candidates(ATLASES[1], ATLASES, 2)
    assert [own.name for own in others] == ["c", "d", "b"] and number == 2
    assert candidates(ATLASES[1], ATLASES, 4, allow_self=True) == (ATLASES, 4)


def test_the_file_tells_not_its_name(tmp_path):
    """A link is the same file, another of the same name is not."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "one" / "a.nii.gz").touch()
    (tmp_path / "link.nii.gz").symlink_to(tmp_path / "one" / "a.nii.gz")
    target = ImageFiles("link", tmp_path / "link.nii.gz", None)
    same, other = files("a", tmp_path / "one"), files("a", tmp_path / "two")
    assert candidates(target, [same, other], 1)[0] == [other]


def test_without_a_number_there_are_as_many_as_the_default_or_fewer():
    assert candidates(files("t"), ATLASES, default=5) == (ATLASES, 4)
    assert candidates(ATLASES[1], ATLASES, default=5)[1] == 3
    assert candidates(files("t"), ATLASES, default=2)[1] == 2
    message = "--atlas-images: .* other than the target .*none for .*--allow-self"
    with pytest.raises(ValueError, match=message):
        candidates(ATLASES[1], ATLASES[1:2], default=5)


def test_too_few_atlases_are_told():
    target = files("t")
    with pytest.raises(ValueError, match=r"at most 4, .*t\.nii\.gz, got 5"):
        candidates(target, ATLASES, 5)
    message = "at most 3, .*a.nii.gz other than the target itself, got 4"
    with pytest.raises(ValueError, match=message):
        candidates(ATLASES[1], ATLASES, 4)
    with pytest.raises(ValueError, match="at most 3"):  # all that are named
        candidates(ATLASES[1], ATLASES)
    with pytest.raises(ValueError, match="--num-atlases: expected an integer >= 1"):
        candidates(target, ATLASES, 0)
