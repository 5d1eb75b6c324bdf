"""
Embedded data: seeded phantoms of prostate MR and transrectal ultrasound (TRUS) pairs.

The anatomy is a set of implicit surfaces in one relaxed frame. MR shows that frame
after a rigid motion; TRUS shows it pushed and widened by the probe and by a smooth
random flow. Both images and both labels are evaluated from the same surfaces, so no
volume is ever resampled and the true map is known. Lengths inside this file are
voxels of the default grid times `_scale`, which keeps small grids alike.

Axes: 0 anterior to posterior (the rectum and the probe at its high end), 1 left to
right, 2 inferior (apex) to superior (base, bladder).
"""

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

logger = logging.getLogger(__name__)

GENERATOR_VERSION = 1  # part of cache names: raise it when any voxel would change
MOVING_SHAPE = (48, 48, 44)
FIXED_SHAPE = (36, 44, 32)
SPACING_MM = 1.6  # of the default grids: a gland is then about 35 x 43 x 32 mm
STAMP_NAME = "phantom.json"
SPLITS = ("train", "valid", "test")
_SEEDS_PER_SPLIT = 100_000
_FLOW_STEPS = 6
_MIN_JACOBIAN = 0.1
_FLOW_RMS = (2.5, 3.0)  # voxels, over the gland
_OFFSET = (4.5, 6.0)  # voxels between gland centroids once grid centres agree

# grey levels in painting order, later over earlier; the two columns are deliberately
# not a function of one another (compare fat, capsule, cyst, calcification)
_GREY = {  # tissue: (MR, US)
    "fat": (0.78, 0.50),
    "bone": (0.42, 0.12),
    "cortex": (0.08, 0.95),
    "obturator": (0.14, 0.22),
    "levator": (0.10, 0.30),
    "veins": (0.88, 0.26),
    "bladder_wall": (0.16, 0.55),
    "bladder": (0.96, 0.02),
    "vesicle": (0.86, 0.20),
    "rectal_wall": (0.24, 0.72),
    "lumen": (0.04, 0.06),
    "capsule": (0.14, 0.92),
    "peripheral": (0.74, 0.42),
    "septum": (0.20, 0.52),
    "transition": (0.40, 0.30),
    "glandular_nodule": (0.60, 0.34),
    "stromal_nodule": (0.22, 0.38),
    "stroma": (0.10, 0.34),
    "urethra": (0.66, 0.10),
}
_LANDMARK_GREY = {  # kind: (MR, US, lowest and highest relative radius in the gland)
    "calcification": (0.03, 1.00, 0.45, 0.72),
    "cyst": (1.00, 0.00, 0.15, 0.60),
    "lesion": (0.16, 0.12, 0.70, 0.90),
    "boundary": (0.10, 0.92, 0.90, 1.02),
}


@dataclass(frozen=True)
class PhantomCase:
    """
    One pair; m are the moving and f the fixed grid sides, L the number of labels.

    :param moving_image: (m1, m2, m3) float32 in [0, 1], T2-like MR.
    :param fixed_image: (f1, f2, f3) float32 in [0, 1], B-mode-like TRUS.
    :param moving_labels: (L, m1, m2, m3) uint8 of 0 and 1; channel 0 is the gland,
        channels 1 to L - 1 are landmarks (2 to 4 of them).
    :param fixed_labels: (L, f1, f2, f3) uint8, the same structures.
    :param spacing_mm: voxel sides of both grids.
    :param displacement: (f1, f2, f3, 3) float32, the true map: fixed voxel x shows
        the tissue at moving voxel x + displacement(x) (voxels, no alignment added).
    """

    moving_image: np.ndarray
    fixed_image: np.ndarray
    moving_labels: np.ndarray
    fixed_labels: np.ndarray
    spacing_mm: tuple[float, float, float]
    displacement: np.ndarray


@dataclass(frozen=True)
class _Waves:
    """A smooth random function of space: a sum of cosines, exact at any point."""

    vectors: np.ndarray  # (K, 3), radians per unit of length
    phases: np.ndarray  # (K,)
    weights: np.ndarray  # (K, C)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """
        :param points: (..., 3).
        :return: (..., C), or (...,) when C is 1.
        """
        value = np.cos(points @ self.vectors.T + self.phases) @ self.weights
        return value[..., 0] if value.shape[-1] == 1 else value


def _draw_waves(
    rng: np.random.Generator,
    wavelength: tuple[float, float],
    rms: float,
    channels: int = 1,
    num: int = 14,
) -> _Waves:
    """
    Draw a random function with the given range of wavelengths.

    :param rms: root mean square of each channel over space.
    """
    direction = rng.normal(size=(num, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    length = rng.uniform(*wavelength, size=(num, 1))
    weights = rng.normal(size=(num, channels))
    # a cosine has mean square 1/2
    weights *= rms / np.sqrt(0.5 * (weights**2).sum(axis=0))
    phases = rng.uniform(0, 2 * np.pi, num)
    return _Waves(direction * 2 * np.pi / length, phases, weights)


def _inside(signed: np.ndarray, width: float = 0.45) -> np.ndarray:
    """Turn a signed distance (negative inside) into a soft membership in [0, 1]."""
    return 0.5 * (1.0 - np.tanh(0.5 * signed / width))


@dataclass(frozen=True)
class _Anatomy:
    """Implicit surfaces of one subject in the relaxed frame, origin in the gland."""

    half: np.ndarray  # (3,) half sides of the gland, voxels
    power: float
    shape: _Waves
    zone: _Waves
    nodules: _Waves
    texture: _Waves
    scale: float
    rectum_radius: float
    rectum_gap: float
    rectum_side: float
    rectum_tilt: float

    def gland(self, q: np.ndarray) -> np.ndarray:
        """
        Give the radius of points relative to the gland's surface.

        :param q: (..., 3).
        :return: (...,), 0 at the centre, 1 on the capsule.
        """
        n = q / self.half
        along = np.clip(n[..., 2], -1.2, 1.2)
        width = 1.0 + 0.16 * along - 0.10 * along**2  # narrow apex, broad base
        n0 = n[..., 0] / (1.0 + 0.06 * along)
        n1 = n[..., 1] / width
        # the posterior surface is hollow at the midline, as the rectum wants it
        n0 = n0 * (1.0 + 0.16 * np.exp(-((n1 / 0.4) ** 2)) * _inside(-n0, 0.12))
        parts = np.abs(np.stack([n0, n1, n[..., 2]], axis=-1))
        radius = (parts**self.power).sum(axis=-1) ** (1.0 / self.power)
        unit = n / (np.linalg.norm(n, axis=-1, keepdims=True) + 1e-6)
        return radius / (1.0 + self.shape(unit))

    def rectum(self, q: np.ndarray) -> np.ndarray:
        """
        Give positions in the axial plane relative to the rectum's axis.

        :param q: (..., 3).
        :return: (..., 2), along axes 0 and 1.
        """
        centre = self.half[0] + self.rectum_gap + self.rectum_radius
        line = np.stack(
            [centre + self.rectum_tilt * q[..., 2], self.rectum_side + 0 * q[..., 2]],
            axis=-1,
        )
        return q[..., :2] - line

    def tissues(self, q: np.ndarray) -> dict[str, np.ndarray]:
        """
        Give the soft membership of points in every tissue but fat.

        :param q: (..., 3).
        :return: arrays (...,) in [0, 1] by name.
        """
        return {**self._surroundings(q), **self._gland_tissues(q)}

    def _surroundings(self, q: np.ndarray) -> dict[str, np.ndarray]:
        n, s = q / self.half, self.scale
        a, w, b = n[..., 0], np.abs(n[..., 1]), n[..., 2]
        h0, h1, h2 = self.half
        wobble = 0.6 * s * self.texture(q)
        bone = np.maximum((a + 1.55 + 0.25 * b) * h0, (0.16 - w) * h1)
        bone = np.maximum(bone, (w - 1.35) * h1) + wobble
        side = (1.62 + 0.12 * a**2 + 0.2 * b - w) * h1 + wobble
        sling = np.hypot(w / (1.30 + 0.22 * b), (a - 0.35) / 2.1) - 1.0
        sling = np.maximum(np.abs(sling * h1 + wobble) - 0.9 * s, (-0.7 - a) * h0)
        urine = np.hypot(np.hypot((a + 0.30) / 1.05, w / 1.0), (b - 1.72) / 0.72) - 1.0
        urine = urine * h2 + wobble
        lobe = np.hypot(np.hypot((a - 0.78) / 0.3, (w - 0.42) / 0.48), (b - 1.12) / 0.3)
        lobe = (lobe - 1.0) * 0.3 * h2 + wobble
        vein = np.hypot(np.hypot((a + 1.22) / 0.22, w / 0.8), (b + 0.35) / 0.8) - 1.0
        tube = np.linalg.norm(self.rectum(q), axis=-1) - self.rectum_radius
        return {
            "bone": _inside(bone),
            "cortex": _inside(np.abs(bone) - 0.4 * s),
            "obturator": _inside(side),
            "levator": _inside(sling),
            "veins": _inside(vein * 0.3 * h0),
            "bladder_wall": _inside(urine - 1.1 * s),
            "bladder": _inside(urine),
            "vesicle": _inside(lobe),
            "rectal_wall": _inside(tube - 1.3 * s),
            "lumen": _inside(tube),
        }

    def _gland_tissues(self, q: np.ndarray) -> dict[str, np.ndarray]:
        n, s = q / self.half, self.scale
        h = float(self.half.mean())
        r = self.gland(q)
        centre = np.array([-0.20, 0.0, 0.14])
        t = np.linalg.norm((n - centre) / [0.66, 0.62, 0.74], axis=-1)
        t = (t - 1.0 - self.zone(n)) * 0.65 * h
        t = np.maximum(t, (r - 0.94) * h)  # the zone stays under the capsule
        lump = self.nodules(q)
        front = np.hypot(np.hypot((n[..., 0] + 0.88) / 0.3, n[..., 1] / 0.42), 0.0)
        tube = np.hypot(q[..., 0] + 0.12 * q[..., 2], q[..., 1]) - 1.0 * s
        inner, whole = _inside(t), _inside((r - 1.0) * h)
        return {
            "capsule": _inside((r - 1.08) * h),
            "peripheral": _inside((r - 0.99) * h),
            "septum": _inside(np.abs(t) - 0.35 * s) * whole,
            "transition": inner,
            "glandular_nodule": inner * _inside(0.7 - lump, 0.12),
            "stromal_nodule": inner * _inside(0.7 + lump, 0.12),
            "stroma": whole * _inside((front - 1.0) * 0.3 * h),
            "urethra": whole * _inside(tube),
        }


@dataclass(frozen=True)
class _Deformation:
    """The map from a fixed voxel to the relaxed frame and on to a moving voxel."""

    anatomy: _Anatomy
    flow: _Waves
    probe_radius: float
    push: float
    origin: np.ndarray  # (3,) fixed voxel coordinates of the frame's origin
    rotation: np.ndarray  # (3, 3)
    shift: np.ndarray  # (3,) moving voxel coordinates of the frame's origin

    def velocity(self, z: np.ndarray) -> np.ndarray:
        """
        Give the velocity of the flow that undoes the probe's push.

        The random part fades towards the probe, which is stiff.
        """
        s = self.anatomy.scale
        plane = self.anatomy.rectum(z)
        rho2 = (plane**2).sum(axis=-1, keepdims=True)
        value = self.flow(z) * (1.0 - 0.7 * np.exp(-0.5 * rho2 / self.probe_radius**2))
        front = _inside(-(plane[..., 0] + self.probe_radius), 3.0 * s)
        value[..., 0] += (
            self.push * front * np.exp(-0.5 * (plane[..., 1] / (12 * s)) ** 2)
        )
        return value

    def drift(self, x: np.ndarray) -> np.ndarray:
        """Follow the flow for unit time from fixed voxels x (..., 3), midpoint rule."""
        z = x - self.origin
        for _ in range(_FLOW_STEPS):
            middle = z + self.velocity(z) * (0.5 / _FLOW_STEPS)
            z = z + self.velocity(middle) / _FLOW_STEPS
        return z

    def relax(self, x: np.ndarray) -> np.ndarray:
        """
        Map fixed voxels to the relaxed frame.

        After the flow the probe's cavity shrinks to the empty rectum; the tissue
        around it is incompressible in the axial plane, hence rho^2 - const.

        :param x: (..., 3).
        :return: (..., 3).
        """
        z = self.drift(x)
        plane = self.anatomy.rectum(z)
        rho = np.linalg.norm(plane, axis=-1, keepdims=True) + 1e-9
        wide, narrow = self.probe_radius, self.anatomy.rectum_radius
        outside = np.sqrt(np.maximum(rho**2 - wide**2, 0.0) + narrow**2) / rho
        ratio = np.where(rho > wide, outside, narrow / wide)
        return np.concatenate(
            [z[..., :2] + plane * (ratio - 1.0), z[..., 2:]],
            axis=-1,
        )

    def to_moving(self, q: np.ndarray) -> np.ndarray:
        """Map the relaxed frame (..., 3) to moving voxels (..., 3)."""
        return q @ self.rotation.T + self.shift

    def from_moving(self, y: np.ndarray) -> np.ndarray:
        """Map moving voxels (..., 3) to the relaxed frame (..., 3)."""
        return (y - self.shift) @ self.rotation

    def probe_line(self, shape: tuple[int, ...]) -> np.ndarray:
        """
        Find the probe's axis in the fixed grid as a straight line.

        :return: (f3, 2), axial position for every slice of axis 2.
        """
        along = np.arange(shape[2], dtype=float)
        x = np.stack([0 * along, 0 * along, along], axis=-1)
        x[:, :2] += self.origin[:2]
        for _ in range(25):  # the flow moves slowly, so plain iteration converges
            x[:, :2] -= self.anatomy.rectum(self.drift(x))
        return np.stack(
            [np.polyval(np.polyfit(along, x[:, i], 1), along) for i in (0, 1)],
            axis=-1,
        )


def jacobian_det(displacement: np.ndarray) -> np.ndarray:
    """
    Give the Jacobian determinant of x -> x + displacement(x), central differences.

    :param displacement: (f1, f2, f3, 3), voxels.
    :return: (f1, f2, f3).
    """
    rows = [np.gradient(displacement[..., i]) for i in range(3)]
    matrix = np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
    return np.linalg.det(matrix + np.eye(3))


def _grid(shape: tuple[int, ...], step: int = 1) -> np.ndarray:
    """List the voxel coordinates of a grid: (d1, d2, d3, 3) float64."""
    axes = [np.arange(0, n, step, dtype=float) for n in shape]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def _scale(fixed_shape: tuple[int, ...]) -> float:
    """Relate the size of a grid to that of the default one."""
    return float(np.prod(np.divide(fixed_shape, FIXED_SHAPE)) ** (1 / 3))


def _rotation(vector: np.ndarray) -> np.ndarray:
    """Turn a rotation vector (radians) into a matrix (Rodrigues)."""
    angle = np.linalg.norm(vector)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def _draw_anatomy(rng: np.random.Generator, fixed_shape: tuple[int, ...]) -> _Anatomy:
    s = _scale(fixed_shape)
    span = rng.uniform([0.57, 0.57, 0.57], [0.68, 0.68, 0.68])
    return _Anatomy(
        half=0.5 * span * np.array(fixed_shape),
        power=rng.uniform(2.1, 2.7),
        shape=_draw_waves(rng, (1.8, 3.2), 0.055),  # of the unit sphere
        zone=_draw_waves(rng, (1.0, 2.0), 0.09),
        nodules=_draw_waves(rng, (6 * s, 10 * s), 0.8, num=20),
        texture=_draw_waves(rng, (5 * s, 12 * s), 1.0, num=20),
        scale=s,
        rectum_radius=rng.uniform(3.0, 4.4) * s,
        rectum_gap=rng.uniform(1.8, 2.6) * s,
        rectum_side=rng.uniform(-3.0, 3.0) * s,
        rectum_tilt=rng.uniform(-0.12, 0.12),
    )


def _draw_deformation(
    rng: np.random.Generator,
    anatomy: _Anatomy,
    moving_shape: tuple[int, ...],
    fixed_shape: tuple[int, ...],
) -> _Deformation:
    s = anatomy.scale
    flow = _draw_waves(rng, (21 * s, 36 * s), 1.0, channels=3, num=12)
    # fixed strength within the gland, a translation aside, so that cases are alike
    points = rng.uniform(-0.8, 0.8, size=(400, 3)) * anatomy.half
    strength = rng.uniform(*_FLOW_RMS) * s / np.sqrt(flow(points).var(axis=0).sum())
    spin = rng.normal(size=3)
    spin *= np.deg2rad(rng.uniform(2.0, 8.0)) / np.linalg.norm(spin)
    return _Deformation(
        anatomy=anatomy,
        flow=replace(flow, weights=strength * flow.weights),
        probe_radius=rng.uniform(6.0, 7.0) * s,
        push=rng.uniform(1.0, 5.0) * s,
        origin=(np.array(fixed_shape) - 1) / 2 + rng.uniform(-1.2, 1.2, 3) * s,
        rotation=_rotation(spin),
        shift=(np.array(moving_shape) - 1) / 2,
    )


def _fit_to_grid(
    rng: np.random.Generator, deformation: _Deformation, fixed_shape: tuple[int, ...]
) -> _Deformation:
    """Bring the fixed gland to 57-68 % of each side, near the middle of the grid."""
    shape = np.array(fixed_shape)
    target = rng.uniform(0.57, 0.68, 3) * shape
    middle = (shape - 1) / 2 + rng.uniform(-1.0, 1.0, 3) * deformation.anatomy.scale
    step = max(1, round(2 * deformation.anatomy.scale))
    x = _grid(fixed_shape, step)
    for _ in range(3):
        inside = deformation.anatomy.gland(deformation.relax(x)) < 1
        found = x[inside] if inside.any() else x.reshape(-1, 3)
        low, high = found.min(axis=0), found.max(axis=0)
        gain = np.clip(target / (high - low + 0.5 * step + 0.5), 0.75, 1.33)
        anatomy = replace(deformation.anatomy, half=deformation.anatomy.half * gain)
        origin = deformation.origin + middle - (low + high) / 2
        deformation = replace(deformation, anatomy=anatomy, origin=origin)
    return deformation


def _offset_gland(
    rng: np.random.Generator, deformation: _Deformation, fixed_shape: tuple[int, ...]
) -> _Deformation:
    """Set the rigid shift, so that aligned centres leave the glands 4 to 6 apart."""
    s = deformation.anatomy.scale
    x = _grid(fixed_shape, max(1, round(2 * s)))
    inside = deformation.anatomy.gland(deformation.relax(x)) < 1
    fixed = x[inside].mean(axis=0) - (np.array(fixed_shape) - 1) / 2
    box = 1.3 * rng.uniform(-1, 1, (4000, 3)) * deformation.anatomy.half
    centroid = box[deformation.anatomy.gland(box) < 1].mean(axis=0)
    direction = rng.normal(size=3)
    direction *= rng.uniform(*_OFFSET) * s / np.linalg.norm(direction)
    moving = fixed + direction - deformation.rotation @ centroid
    return replace(deformation, shift=deformation.shift + moving)


def _make_smooth(
    deformation: _Deformation, fixed_shape: tuple[int, ...]
) -> tuple[_Deformation, np.ndarray]:
    """Weaken the flow until the map is a safe diffeomorphism on the grid."""
    x = _grid(fixed_shape)
    while True:
        q = deformation.relax(x)
        if jacobian_det(q - x).min() > _MIN_JACOBIAN:
            return deformation, q
        flow = replace(deformation.flow, weights=0.8 * deformation.flow.weights)
        deformation = replace(deformation, flow=flow, push=0.9 * deformation.push)


@dataclass(frozen=True)
class _Landmark:
    """A ball in the relaxed frame that both images show."""

    kind: str
    centre: np.ndarray  # (3,) relaxed frame
    fixed_centre: np.ndarray  # (3,) fixed voxels
    radius: float

    def signed(self, q: np.ndarray) -> np.ndarray:
        """Give the signed distance of points (..., 3), negative inside."""
        return np.linalg.norm(q - self.centre, axis=-1) - self.radius


def _draw_landmarks(
    rng: np.random.Generator, anatomy: _Anatomy, q: np.ndarray
) -> list[_Landmark]:
    """
    Choose 2 to 4 landmarks among the fixed voxels, so that all lie inside the grid.

    :param q: (f1, f2, f3, 3), relaxed position of every fixed voxel.
    """
    kinds = ["calcification", *rng.permutation(["cyst", "lesion", "boundary"])]
    kinds = kinds[: rng.integers(2, 5)]
    level = anatomy.gland(q)
    sides = np.array(q.shape[:3])
    landmarks: list[_Landmark] = []
    for kind in kinds:
        radius = max(rng.uniform(1.5, 2.5) * anatomy.scale, 1.1)
        low, high = _LANDMARK_GREY[kind][2:]
        options = np.argwhere((level > low) & (level < high))
        edge = np.minimum(options, sides - 1 - options).min(axis=1)
        options = options[edge > radius + 0.5]
        for x in rng.permutation(options)[:200]:
            centre = q[tuple(x)]
            gaps = [
                np.linalg.norm(centre - m.centre) - radius - m.radius for m in landmarks
            ]
            if min(gaps, default=np.inf) > 2.0 * anatomy.scale:
                landmarks.append(_Landmark(kind, centre, x.astype(float), radius))
                break
    return landmarks


def _labels(anatomy: _Anatomy, landmarks: list[_Landmark], q: np.ndarray) -> np.ndarray:
    """Give the label channels (L, d1, d2, d3) uint8 at relaxed positions q."""
    balls = [mark.signed(q) < 0 for mark in landmarks]
    return np.stack([anatomy.gland(q) < 1, *balls]).astype(np.uint8)


def _paint(
    tissues: dict[str, np.ndarray],
    landmarks: list[_Landmark],
    q: np.ndarray,
    modality: int,
) -> np.ndarray:
    """
    Paint grey levels over one another.

    :param modality: 0 for MR, 1 for US: the column of the grey tables.
    :return: (d1, d2, d3) in [0, 1].
    """
    image = np.full(q.shape[:-1], _GREY["fat"][modality])
    for name, mask in tissues.items():
        image += mask * (_GREY[name][modality] - image)
    for mark in landmarks:
        grey = _LANDMARK_GREY[mark.kind][modality]
        image += _inside(mark.signed(q), 0.3) * (grey - image)
    return image


def _mr_image(
    rng: np.random.Generator,
    anatomy: _Anatomy,
    landmarks: list[_Landmark],
    q: np.ndarray,
) -> np.ndarray:
    """Render T2-like MR: painted levels, texture, coil shading, Rician noise."""
    tissues = anatomy.tissues(q)
    gel = rng.uniform() < 0.4  # the rectum holds gas (black) or gel (bright)
    image = _paint(tissues, landmarks, q, 0)
    image += 0.5 * gel * tissues["lumen"] * (1 - tissues["peripheral"])
    image *= 1.0 + 0.06 * anatomy.texture(q)
    image = ndimage.gaussian_filter(image, 0.45)
    sides = q.shape[:-1]
    bias = _draw_waves(rng, (0.8 * max(sides), 2.0 * max(sides)), 0.12, num=6)
    image *= np.exp(bias(_grid(sides)))
    real, imaginary = rng.normal(scale=0.03, size=(2, *sides))
    image = np.hypot(image + real, imaginary)
    top = np.percentile(image, 99.7)
    return np.clip(image / top, 0, 1).astype(np.float32)


def _speckle(
    rng: np.random.Generator, depth: np.ndarray, angle: np.ndarray, scale: float
) -> np.ndarray:
    """
    Draw the envelope of fully developed speckle (Rayleigh, mean square 1).

    The pattern is made on rays, so it widens with the distance from the probe.

    :param depth: (f1, f2, f3) along the ray, voxels; may be negative in the probe.
    :param angle: (f1, f2, f3) radians.
    """
    per_voxel, per_radian = 2.0 / scale, 36.0
    slices = np.broadcast_to(np.arange(depth.shape[2]), depth.shape)
    spots = np.stack([(depth - depth.min()) * per_voxel, (angle + 3.2) * per_radian])
    spots = np.concatenate([spots, slices[None]])
    size = [int(np.ceil(axis.max())) + 2 for axis in spots]
    field = np.zeros(depth.shape)
    for part in rng.standard_normal((2, *size), dtype=np.float32):
        part = ndimage.gaussian_filter(part, (1.6, 1.6, 0.7))
        part /= part.std()
        field += ndimage.map_coordinates(part, spots, order=1) ** 2
    return np.sqrt(field / field.mean())


def _shadow(mark: _Landmark, probe: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Give the darkness in [0, 1] behind a calcification, away from the probe."""
    origin = probe[int(mark.fixed_centre[2])]
    ray = mark.fixed_centre[:2] - origin
    distance = np.linalg.norm(ray)
    ray = ray / distance
    plane = x[..., :2] - origin
    along = plane @ ray
    across = np.abs(plane[..., 0] * ray[1] - plane[..., 1] * ray[0])
    # a fan: the shadow of a ball widens in proportion to the distance
    width = mark.radius * np.maximum(along, 1e-3) / distance
    sideways = np.hypot(
        across / width, (x[..., 2] - mark.fixed_centre[2]) / mark.radius
    )
    behind = _inside(distance + 0.7 * mark.radius - along, 0.4)
    return behind * _inside(sideways - 1.0, 0.12)


def _us_image(
    rng: np.random.Generator,
    deformation: _Deformation,
    landmarks: list[_Landmark],
    q: np.ndarray,
) -> np.ndarray:
    """Render B-mode TRUS: log-compressed echoes seen from the probe, as a fan."""
    anatomy, s = deformation.anatomy, deformation.anatomy.scale
    x = _grid(q.shape[:-1])
    probe = deformation.probe_line(q.shape[:-1])
    plane = x[..., :2] - probe
    rho = np.linalg.norm(plane, axis=-1)
    depth, angle = (
        rho - deformation.probe_radius,
        np.arctan2(plane[..., 1], -plane[..., 0]),
    )
    level = _paint(anatomy.tissues(q), landmarks, q, 1)
    # residual attenuation after gain compensation: near bright, far dark
    level *= 1.25 * np.exp(-np.maximum(depth, 0) / (rng.uniform(28, 40) * s))
    for mark in landmarks:
        if mark.kind == "calcification":
            level *= 1.0 - 0.92 * _shadow(mark, probe, x)
    # log compression turns the Rayleigh factor into a summand; 66 dB of range
    echo = level + 0.3 * np.log10(_speckle(rng, depth, angle, s) + 0.02)
    echo = np.clip(echo * _inside(-level + 0.06, 0.015), 0, 1)
    face = np.exp(-((depth / (0.8 * s)) ** 2))
    echo = np.maximum(echo, 0.9 * face)
    reach, opening = rng.uniform(30, 34) * s, np.deg2rad(rng.uniform(62, 72))
    fan = _inside(depth - reach) * _inside((np.abs(angle) - opening) * rho)
    echo = ndimage.gaussian_filter(echo, 0.5) * fan * _inside(-depth - 0.6 * s)
    ring = 0.18 * np.exp(-(((depth + 2.2 * s) / (0.5 * s)) ** 2))  # transducer echo
    return np.clip(echo + ring * (np.abs(angle) < 2), 0, 1).astype(np.float32)


def _check_shape(name: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
    sides = tuple(int(side) for side in shape)
    if len(sides) != 3 or min(sides) < 12:
        raise ValueError(
            f"phantom {name}: expected three sides of at least 12 voxels, got {shape}."
        )
    return sides


def make_case(
    seed: int,
    moving_shape: tuple[int, int, int] = MOVING_SHAPE,
    fixed_shape: tuple[int, int, int] = FIXED_SHAPE,
) -> PhantomCase:
    """
    Make one synthetic pair of a T2-like MR and a TRUS-like volume.

    :param seed: any integer >= 0; the same seed and shapes give the same arrays.
    :param moving_shape: sides of the MR grid, at least 12.
    :param fixed_shape: sides of the TRUS grid, at least 12; the gland spans 55 to
        70 % of each. Lengths follow this grid, and the voxels of both are alike.
    :return: the pair with its labels, spacing and true displacement.
    :raises ValueError: when the seed is negative or a shape is not three such sides.
    """
    if seed < 0:
        raise ValueError(f"phantom seed: expected an integer >= 0, got {seed}.")
    moving_shape = _check_shape("moving_shape", moving_shape)
    fixed_shape = _check_shape("fixed_shape", fixed_shape)
    # separate streams: a change of noise must not change the anatomy
    streams = np.random.SeedSequence(seed).spawn(3)
    rng, rng_mr, rng_us = (np.random.default_rng(stream) for stream in streams)
    anatomy = _draw_anatomy(rng, fixed_shape)
    deformation = _draw_deformation(rng, anatomy, moving_shape, fixed_shape)
    deformation = _fit_to_grid(rng, deformation, fixed_shape)
    deformation = _offset_gland(rng, deformation, fixed_shape)
    deformation, q_fixed = _make_smooth(deformation, fixed_shape)
    anatomy = deformation.anatomy
    q_moving = deformation.from_moving(_grid(moving_shape))
    landmarks = _draw_landmarks(rng, anatomy, q_fixed)
    displacement = deformation.to_moving(q_fixed) - _grid(fixed_shape)
    return PhantomCase(
        moving_image=_mr_image(rng_mr, anatomy, landmarks, q_moving),
        fixed_image=_us_image(rng_us, deformation, landmarks, q_fixed),
        moving_labels=_labels(anatomy, landmarks, q_moving),
        fixed_labels=_labels(anatomy, landmarks, q_fixed),
        spacing_mm=(round(SPACING_MM / anatomy.scale, 3),) * 3,
        displacement=displacement.astype(np.float32),
    )


def _parameters(kind: str, seed: int, counts: dict[str, int], **shapes: tuple) -> dict:
    """Collect and check what determines a data set; the stamp and the cache key."""
    if seed < 0:
        raise ValueError(f"phantom seed: expected an integer >= 0, got {seed}.")
    for split, num in counts.items():
        if not 0 <= num < _SEEDS_PER_SPLIT:
            raise ValueError(
                f"phantom num_{split}: expected an integer from 0 to "
                f"{_SEEDS_PER_SPLIT - 1}, got {num}."
            )
    return {
        "kind": kind,
        "generator_version": GENERATOR_VERSION,
        "seed": int(seed),
        **{f"num_{split}": int(num) for split, num in counts.items()},
        **{name: list(_check_shape(name, shape)) for name, shape in shapes.items()},
    }


def default_phantom_dir(parameters: dict) -> Path:
    """
    Give the cache folder of a phantom data set; nothing is created.

    It lies in the folder named by the environment variable DEEPREG_META_CACHE, else
    in ~/.cache/deepreg_meta.

    :param parameters: what the set depends on, of JSON types; any key order.
    :return: a path whose name holds a hash of parameters and generator version.
    """
    root = os.environ.get("DEEPREG_META_CACHE") or "~/.cache/deepreg_meta"
    text = json.dumps([GENERATOR_VERSION, parameters], sort_keys=True)
    key = hashlib.sha256(text.encode()).hexdigest()[:10]
    return Path(root).expanduser() / f"phantom_{key}"


def _affine(shape: tuple[int, ...], spacing_mm: tuple[float, ...]) -> np.ndarray:
    """
    Give the voxel-to-world matrix (RAS+, mm) of a grid centred at the world's origin.

    Axis 0 points to posterior, axis 1 to the right, axis 2 to superior: "PRS".
    """
    affine = np.zeros((4, 4))
    affine[1, 0], affine[0, 1], affine[2, 2] = np.multiply(spacing_mm, [-1, 1, 1])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    affine[3, 3] = 1
    return affine


def _save(path: Path, array: np.ndarray, spacing_mm: tuple[float, ...]) -> None:
    """Save an image (d1, d2, d3) or labels (d1, d2, d3, L) as NIfTI."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(array, _affine(array.shape[:3], spacing_mm))
    image.header.set_xyzt_units("mm")
    nib.save(image, path)


def _save_pair(folder: Path, name: str, case: PhantomCase) -> None:
    for kind in ("moving", "fixed"):
        image, labels = getattr(case, f"{kind}_image"), getattr(case, f"{kind}_labels")
        _save(folder / f"{kind}_images" / name, image, case.spacing_mm)
        channels_last = np.ascontiguousarray(np.moveaxis(labels, 0, -1))
        _save(folder / f"{kind}_labels" / name, channels_last, case.spacing_mm)


def _save_single(folder: Path, name: str, case: PhantomCase) -> None:
    _save(folder / "images" / name, case.fixed_image, case.spacing_mm)
    # landmarks of different subjects do not correspond, so only the gland is kept
    _save(folder / "labels" / name, case.fixed_labels[0], case.spacing_mm)


def _is_complete(out_dir: Path, parameters: dict) -> bool:
    """Say whether a folder holds this very set; every file must still be there."""
    stamp = out_dir / STAMP_NAME
    if not stamp.is_file():
        return False
    kinds = 4 if parameters["kind"] == "paired" else 2
    found = json.loads(stamp.read_text())
    num = [len(list((out_dir / s).glob("*/*.nii.gz"))) for s in SPLITS]
    return found == parameters and num == [
        kinds * parameters[f"num_{split}"] for split in SPLITS
    ]


def _readme(parameters: dict) -> str:
    return (
        "SYNTHETIC phantom data made by deepreg_meta; no patient is shown.\n"
        f"Parameters: {json.dumps(parameters)}\n"
        "Axes: 0 anterior to posterior (rectum and probe at its high end), 1 left to\n"
        "right, 2 inferior to superior; affines say the same (PRS) in mm. Both grids\n"
        "are centred at the world's origin, so the affines alone align grid centres.\n"
        "Label files: values 0 and 1. Paired sets have one structure per entry of the\n"
        "last axis, the gland first, then landmarks; unpaired sets the gland only.\n"
    )


def _write(
    out_dir: str | Path,
    parameters: dict,
    make: Callable[[int], PhantomCase],
    save: Callable[[Path, str, PhantomCase], None],
) -> Path:
    """Write all splits into a temporary folder beside `out_dir`, then rename it."""
    out_dir = Path(out_dir)
    if _is_complete(out_dir, parameters):
        logger.info("Reusing the phantom data set in %s.", out_dir)
        return out_dir
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise ValueError(
            f"phantom out_dir: expected a new or empty folder, or one that holds this "
            f"very phantom data set, got {out_dir} with other content. Choose another "
            f"folder, or remove it."
        )
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{out_dir.name}.", dir=out_dir.parent))
    try:
        part.chmod(0o755)  # mkdtemp makes it private
        for index, split in enumerate(SPLITS):
            (part / split).mkdir()
            first = parameters["seed"] * len(SPLITS) * _SEEDS_PER_SPLIT
            first += index * _SEEDS_PER_SPLIT  # one case never shows in two splits
            for i in range(parameters[f"num_{split}"]):
                save(part / split, f"case{i:06d}.nii.gz", make(first + i))
        (part / "README.txt").write_text(_readme(parameters))
        (part / STAMP_NAME).write_text(json.dumps(parameters, indent=2) + "\n")
        part.rename(out_dir)
    except BaseException as err:  # an interrupt too must leave nothing half-written
        shutil.rmtree(part, ignore_errors=True)
        # another process may have finished the same set in the meantime
        if isinstance(err, OSError) and _is_complete(out_dir, parameters):
            return out_dir
        raise
    return out_dir


def write_dataset(
    out_dir: str | Path,
    num_train: int,
    num_valid: int,
    num_test: int,
    seed: int = 0,
    moving_shape: tuple[int, int, int] = MOVING_SHAPE,
    fixed_shape: tuple[int, int, int] = FIXED_SHAPE,
) -> Path:
    """
    Write phantom pairs in DeepReg's paired NIfTI layout, or reuse those there.

    train, valid and test each hold moving_images, fixed_images, moving_labels and
    fixed_labels with files case000000.nii.gz and so on; label files are
    (d1, d2, d3, L) uint8 with the gland first.

    :param out_dir: a new or empty folder, or one this call has filled before.
    :param num_train: number of training pairs; likewise num_valid and num_test.
    :param seed: integer >= 0; a split's first cases do not depend on the counts.
    :return: `out_dir` as a path.
    :raises ValueError: when a number or shape is out of range, or the folder holds
        anything else.
    """
    counts = dict(zip(SPLITS, (num_train, num_valid, num_test), strict=True))
    parameters = _parameters(
        "paired", seed, counts, moving_shape=moving_shape, fixed_shape=fixed_shape
    )

    def make(case_seed: int) -> PhantomCase:
        return make_case(case_seed, moving_shape, fixed_shape)

    return _write(out_dir, parameters, make, _save_pair)


def write_unpaired_dataset(
    out_dir: str | Path,
    num_train: int,
    num_valid: int,
    num_test: int,
    seed: int = 0,
    image_shape: tuple[int, int, int] = FIXED_SHAPE,
) -> Path:
    """
    Write TRUS phantoms of different subjects in DeepReg's unpaired NIfTI layout.

    train, valid and test each hold images and labels; a label file is the gland,
    (d1, d2, d3) uint8. Parameters, reuse and errors are those of `write_dataset`.

    :param image_shape: sides of the one grid that all volumes share.
    :return: `out_dir` as a path.
    """
    counts = dict(zip(SPLITS, (num_train, num_valid, num_test), strict=True))
    parameters = _parameters("unpaired", seed, counts, image_shape=image_shape)

    def make(case_seed: int) -> PhantomCase:
        return make_case(case_seed, image_shape, image_shape)

    return _write(out_dir, parameters, make, _save_single)
