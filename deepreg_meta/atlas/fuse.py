"""
Fuse the label maps that several atlases give one image.

Atlases come in the order of their similarity, the most similar one first: of labels
with equal votes, that of the first atlas wins. What all atlases say of a voxel is kept,
whatever the method, and costs nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from deepreg_meta.atlas.patches import Patches

FusionMethod = Literal["majority", "weighted", "joint", "staple"]
METHODS: tuple[FusionMethod, ...] = ("majority", "weighted", "joint", "staple")
_MOST_RADIUS = 10  # of patches and searches: cubes of 9261 voxels
_CHUNK = 4_000_000  # numbers in the patches that are held at once


@dataclass(frozen=True)
class Fusion:
    """
    How label maps are fused.

    :param method: majority, every atlas has one vote; weighted, votes count by the
        similarity of the images; joint, by errors that atlases share; staple.
    :param weights: of `weighted`: local, by the correlation in a patch around the
        voxel, or global, by the similarity of the whole images.
    :param alpha: of `joint`: added to the diagonal of the expected errors, > 0; the
        larger, the more alike the weights.
    :param beta: power of similarities (`weighted`) and of expected errors (`joint`),
        > 0; the larger, the more the best atlas counts.
    :param patch_radius: of the patches that images are compared by, voxels, 1 to 10.
    :param search_radius: how far from a voxel each atlas may look for the patch most
        like that of the target, voxels, 0 to 10; its label there votes.
    """

    method: FusionMethod = "joint"
    weights: Literal["local", "global"] = "local"
    alpha: float = 0.1
    beta: float = 2.0
    patch_radius: int = 2
    search_radius: int = 0

    def __post_init__(self) -> None:
        """:raises ValueError: for options out of range, by their flags."""
        for flag, value, known in (
            ("--fusion", self.method, METHODS),
            ("--weights", self.weights, ("local", "global")),
        ):
            if value not in known:
                raise ValueError(
                    f"{flag}: expected one of {', '.join(known)}, got {value!r}."
                )
        for flag, number in (("--alpha", self.alpha), ("--beta", self.beta)):
            if not 0 < number < float("inf"):
                raise ValueError(f"{flag}: expected a number > 0, got {number}.")
        for flag, radius, least in (
            ("--patch-radius", self.patch_radius, 1),
            ("--search-radius", self.search_radius, 0),
        ):
            if not least <= radius <= _MOST_RADIUS:
                raise ValueError(
                    f"{flag}: expected an integer from {least} to {_MOST_RADIUS}, got "
                    f"{radius}."
                )

    @property
    def used(self) -> tuple[str, ...]:
        """The options, other than the method, that make a difference."""
        patches = ("patch_radius", "search_radius") if self.uses_patches else ()
        own = {"weighted": ("weights", "beta"), "joint": ("alpha", "beta")}
        return own.get(self.method, ()) + patches

    @property
    def uses_patches(self) -> bool:
        """Whether images are compared patch by patch."""
        is_local = self.method == "weighted" and self.weights == "local"
        return is_local or self.method == "joint"


def fuse(
    labels: NDArray[np.integer],
    fusion: Fusion,
    images: NDArray | None = None,
    target: NDArray | None = None,
    similarities: Sequence[float] | None = None,
) -> NDArray[np.integer]:
    """
    Fuse label maps.

    :param labels: (n, d1, d2, d3), index maps of the n atlases, the most similar atlas
        first.
    :param fusion: how.
    :param images: (n, d1, d2, d3), the warped images of the atlases, where patches
        are compared.
    :param target: (d1, d2, d3), the image that is segmented, likewise.
    :param similarities: of each warped image with the target, for global weights.
    :return: (d1, d2, d3), the type of `labels`.
    :raises ValueError: when what a method needs is missing, or has another shape.
    """
    if labels.ndim != 4:
        raise ValueError(f"fuse: expected labels (n, d1, d2, d3), got {labels.shape}.")
    if fusion.uses_patches:
        images, target = _check_images(labels, images, target)
        return _fuse_by_patches(labels, images, target, fusion)
    open_voxels = disputed(labels)
    if not open_voxels.any():
        return labels[0].copy()
    if fusion.method == "staple":
        return _staple(labels)
    weights: NDArray[np.float64] = np.ones(len(labels))
    if fusion.method == "weighted":
        if similarities is None or len(similarities) != len(labels):
            raise ValueError(
                f"fuse: expected a similarity for each of {len(labels)} atlases, got "
                f"{similarities}."
            )
        weights = similarity_weights(np.asarray(similarities, float), fusion.beta)
    result = labels[0].copy()
    result[open_voxels] = vote(labels[:, open_voxels], weights[:, None])
    return result


def disputed(labels: NDArray) -> NDArray[np.bool_]:
    """
    Find where not all atlases have one label.

    :param labels: (n, d1, d2, d3).
    :return: (d1, d2, d3).
    """
    return (labels[1:] != labels[0]).any(axis=0)


def vote(labels: NDArray, weights: NDArray) -> NDArray:
    """
    Choose the label with the most votes.

    :param labels: (n, m), of n atlases in m voxels.
    :param weights: (n, m) or (n, 1), votes of each atlas.
    :return: (m,); of labels with equal votes that of the first atlas.
    """
    # votes for the label of each atlas: labels are many, atlases few
    total = np.zeros(labels.shape)
    for own, weight in zip(labels, weights, strict=True):
        total += np.where(labels == own, weight, 0.0)
    winner = total.argmax(axis=0)
    return np.take_along_axis(labels, winner[None], axis=0)[0]


def similarity_weights(similarities: NDArray, beta: float) -> NDArray[np.float64]:
    """
    Turn similarities into weights.

    :param similarities: (n, ...), in [-1, 1]; what is not positive, or nan, has no
        weight.
    :param beta: power.
    :return: the same shape, sum 1 over the first axis; equal where none is positive.
    """
    powers = np.where(similarities > 0, similarities, 0.0) ** beta
    total = powers.sum(axis=0, keepdims=True)
    return np.where(total > 0, powers / np.where(total > 0, total, 1), 1 / len(powers))


def expected_errors(differences: NDArray, beta: float) -> NDArray[np.float64]:
    """
    Estimate how likely pairs of atlases are wrong together.

    M(i, j) = (sum over a patch of |d_i| |d_j| / (p - 1))^beta, d_i the difference of
    the normalised patches of atlas i and of the target. Source: see `joint_weights`;
    the factor 1 / (p - 1) is that of its authors' program, against which alpha counts.

    :param differences: (m, n, p), of n atlases at m voxels.
    :param beta: power.
    :return: M, (m, n, n), symmetric, >= 0.
    """
    size = np.abs(differences)
    return (size @ size.swapaxes(1, 2) / (size.shape[-1] - 1)) ** beta


def joint_weights(errors: NDArray, alpha: float) -> NDArray[np.float64]:
    """
    Weigh atlases so that the expected error of their vote is least.

    w = (M + alpha I)^-1 1 / (1^T (M + alpha I)^-1 1). Source: Wang, Suh, Das, Pluta,
    Craige and Yushkevich, Multi-Atlas Segmentation with Joint Label Fusion, IEEE TPAMI
    35(3), 611-623, 2013.

    :param errors: M, (m, n, n).
    :param alpha: > 0.
    :return: w, (m, n), sum 1 over the atlases; an atlas whose errors others share may
        weigh less than nothing.
    """
    matrix = errors + alpha * np.eye(errors.shape[-1])
    ones = np.ones((*errors.shape[:-1], 1))
    solved = np.linalg.solve(matrix, ones)[..., 0]
    return solved / solved.sum(axis=-1, keepdims=True)


def _check_images(
    labels: NDArray, images: NDArray | None, target: NDArray | None
) -> tuple[NDArray, NDArray]:
    """:raises ValueError: where images are missing or of another shape."""
    shapes = [None if image is None else image.shape for image in (images, target)]
    if images is None or target is None or shapes != [labels.shape, labels.shape[1:]]:
        raise ValueError(
            f"fuse: expected images {labels.shape} and a target {labels.shape[1:]}, "
            f"got {shapes[0]} and {shapes[1]}."
        )
    return images, target


def _fuse_by_patches(
    labels: NDArray, images: NDArray, target: NDArray, fusion: Fusion
) -> NDArray:
    """Weigh the atlases at each voxel by patches around it."""
    result = labels[0].copy()
    own = Patches(target, fusion.patch_radius)
    others = [Patches(image, fusion.patch_radius) for image in images]
    places = np.argwhere(disputed(labels))
    for part in _chunks(places, own.size * len(labels)):
        wanted = own.cut(part)
        found = [other.match(part, wanted, fusion.search_radius) for other in others]
        patches = np.stack([match.patches for match in found], axis=1)  # (m, n, p)
        votes = np.stack(
            [
                label[tuple(match.places.T)]
                for label, match in zip(labels, found, strict=True)
            ]
        )
        if fusion.method == "joint":
            errors = expected_errors(patches - wanted[:, None], fusion.beta)
            weights = joint_weights(errors, fusion.alpha).T
        else:
            correlation = np.einsum("mnp,mp->nm", patches, wanted) / (own.size - 1)
            weights = similarity_weights(correlation, fusion.beta)
        result[tuple(part.T)] = vote(votes, weights)
    return result


def _chunks(places: NDArray, width: int) -> Iterator[NDArray]:
    """Divide voxels so that few enough patches are held at once."""
    rows = max(1, _CHUNK // width)
    for start in range(0, len(places), rows):
        yield places[start : start + rows]


def _staple(labels: NDArray) -> NDArray:
    """Fuse by ITK's multi-label STAPLE; what it leaves open goes to the first atlas."""
    values, ranks = np.unique(labels, return_inverse=True)
    ranks = ranks.reshape(labels.shape).astype(np.uint32)
    images = [sitk.GetImageFromArray(np.ascontiguousarray(rank)) for rank in ranks]
    fused = sitk.GetArrayFromImage(sitk.MultiLabelSTAPLE(images, len(values)))
    return values[np.where(fused < len(values), fused, ranks[0])].astype(labels.dtype)
