"""What is where: the tissues of one anatomy at the voxels of one grid."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from deepreg_meta.dataset.phantom.anatomy import Anatomy
from deepreg_meta.dataset.phantom.field import membership


@dataclass(frozen=True)
class View:
    """
    One anatomy seen from one grid; what images and labels share is computed once.

    :param anatomy: of the subject.
    :param q: (d1, d2, d3, 3), relaxed position of every voxel of the grid.
    """

    anatomy: Anatomy
    q: np.ndarray

    @cached_property
    def sides(self) -> tuple[int, ...]:
        """Sides (d1, d2, d3) of the grid."""
        return self.q.shape[:-1]

    @cached_property
    def gland(self) -> np.ndarray:
        """Radius relative to the gland's surface, (d1, d2, d3): 1 on the capsule."""
        return self.anatomy.gland(self.q)

    @cached_property
    def texture(self) -> np.ndarray:
        """Mottle of the tissues, (d1, d2, d3), mean square 1 over space."""
        return self.anatomy.texture(self.q)

    def tissues(self) -> dict[str, np.ndarray]:
        """
        Give the soft membership of the voxels in every tissue but fat.

        :return: arrays (d1, d2, d3) in [0, 1] by name, later ones in front of earlier.
        """
        return {**self._surroundings(), **self._gland_tissues()}

    def _surroundings(self) -> dict[str, np.ndarray]:
        anatomy = self.anatomy
        n, s = self.q / anatomy.half, anatomy.scale
        a, w, b = n[..., 0], np.abs(n[..., 1]), n[..., 2]
        h0, h1, h2 = anatomy.half
        wobble = 0.6 * s * self.texture
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
        tube = np.linalg.norm(anatomy.rectum(self.q), axis=-1) - anatomy.rectum_radius
        return {
            "bone": membership(bone),
            "cortex": membership(np.abs(bone) - 0.4 * s),
            "obturator": membership(side),
            "levator": membership(sling),
            "veins": membership(vein * 0.3 * h0),
            "bladder_wall": membership(urine - 1.1 * s),
            "bladder": membership(urine),
            "vesicle": membership(lobe),
            "rectal_wall": membership(tube - 1.3 * s),
            "lumen": membership(tube),
        }

    def _gland_tissues(self) -> dict[str, np.ndarray]:
        n, s = self.q / self.anatomy.half, self.anatomy.scale
        h = float(self.anatomy.half.mean())
        r = self.gland
        centre = np.array([-0.20, 0.0, 0.14])
        t = np.linalg.norm((n - centre) / [0.66, 0.62, 0.74], axis=-1)
        t = (t - 1.0 - self.anatomy.zone(n)) * 0.65 * h
        t = np.maximum(t, (r - 0.94) * h)  # the zone stays under the capsule
        lump = self.anatomy.nodules(self.q)
        front = np.hypot((n[..., 0] + 0.88) / 0.3, n[..., 1] / 0.42)
        tube = np.hypot(self.q[..., 0] + 0.12 * self.q[..., 2], self.q[..., 1]) - s
        inner, whole = membership(t), membership((r - 1.0) * h)
        return {
            "capsule": membership((r - 1.08) * h),
            "peripheral": membership((r - 0.99) * h),
            "septum": membership(np.abs(t) - 0.35 * s) * whole,
            "transition": inner,
            "glandular_nodule": inner * membership(0.7 - lump, 0.12),
            "stromal_nodule": inner * membership(0.7 + lump, 0.12),
            "stroma": whole * membership((front - 1.0) * 0.3 * h),
            "urethra": whole * membership(tube),
        }
