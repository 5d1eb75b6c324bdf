"""Grey levels of the tissues in both modalities."""

import numpy as np

from deepreg_meta.dataset.phantom.field import membership
from deepreg_meta.dataset.phantom.landmark import Landmark

MR, US = 0, 1  # columns of the tables

# grey levels in painting order, later over earlier; the two columns are deliberately
# not a function of one another (compare fat, capsule, cyst, calcification)
_TISSUE = {  # tissue: (MR, US)
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
_LANDMARK = {  # kind: (MR, US)
    "calcification": (0.03, 1.00),
    "cyst": (1.00, 0.00),
    "lesion": (0.16, 0.12),
    "boundary": (0.10, 0.92),
}


def paint(
    tissues: dict[str, np.ndarray],
    landmarks: list[Landmark],
    q: np.ndarray,
    modality: int,
) -> np.ndarray:
    """
    Paint grey levels over one another, on fat.

    :param tissues: soft memberships (d1, d2, d3) by name, in painting order.
    :param landmarks: painted last.
    :param q: (d1, d2, d3, 3), relaxed position of every voxel.
    :param modality: MR or US.
    :return: (d1, d2, d3) in [0, 1].
    """
    image = np.full(q.shape[:-1], _TISSUE["fat"][modality])
    for name, mask in tissues.items():
        image += mask * (_TISSUE[name][modality] - image)
    for mark in landmarks:
        grey = _LANDMARK[mark.kind][modality]
        image += membership(mark.signed(q), 0.3) * (grey - image)
    return image
