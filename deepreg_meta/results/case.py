"""One registered pair: what the model put out, as transforms of space."""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from deepreg_meta.dataset.case import Case
from deepreg_meta.evaluate import metric
from deepreg_meta.evaluate.columns import BASELINE
from deepreg_meta.geometry.affine import from_parts
from deepreg_meta.geometry.landmarks import Landmarks
from deepreg_meta.geometry.transform import Affine, Field, Transform

STAGES = ("before", "unadapted", "adapted")
WITHOUT_NETWORK = ("before", BASELINE)


@dataclass
class CaseResult:
    """
    A registered pair: what the model put out, and the scores made of it.

    :param case: the pair.
    :param outputs: of `ReptileModel.predict_step`, without the leading axis.
    :param seconds: of adaptation and prediction.
    :param cpu_seconds: of the same, all cores together; nan where not measured.
    :param frame_axis: axis across the frames.
    :param is_sparse: whether the fixed image was shown in frames.
    :param scores_images: compare intensities too, for images of one modality.
    :param landmarks: of the fixed and of the moving image, from files; for scoring
        only.
    :param is_open: the fixed image is known on the frames alone, as in a session.
    """

    case: Case
    outputs: dict[str, np.ndarray]
    seconds: float
    frame_axis: int
    is_sparse: bool
    scores_images: bool = False
    cpu_seconds: float = math.nan
    landmarks: tuple[Landmarks, Landmarks] | None = None
    is_open: bool = False
    case_row: dict = field(default_factory=dict)
    label_rows: list[dict] = field(default_factory=list)
    landmark_rows: list[dict] = field(default_factory=list)

    @property
    def steps(self) -> int:
        """Updates made."""
        return len(self.outputs["history"])

    @property
    def unit(self) -> str:
        """Unit of lengths: voxels where the spacing is nominal."""
        return "voxels" if self.case.spacing_is_nominal else "mm"

    @property
    def frames(self) -> NDArray:
        """Indices of the frames that the prediction saw, on the network's grid."""
        return np.flatnonzero(self.outputs["slices"] > 0)

    @property
    def seen(self) -> NDArray[np.bool_]:
        """True on the frames seen, in a shape that broadcasts to the network's grid."""
        shape = [1, 1, 1]
        shape[self.frame_axis] = -1
        return (self.outputs["slices"] > 0).reshape(shape)

    def ddf(self, stage: str) -> NDArray:
        """
        Return the network's field at a stage, zero where no network took part.

        :param stage: before, unadapted, adapted or the baseline.
        :return: u, (f1, f2, f3, 3), in voxels of the network's fixed grid.
        """
        if stage in WITHOUT_NETWORK:
            return np.zeros_like(self.outputs["ddf"])
        return self.outputs["ddf" if stage == "adapted" else "ddf_unadapted"]

    def alignment(self, stage: str) -> tuple[NDArray, NDArray]:
        """
        Return A (3, 3) and t (3,) of a stage, from fixed to moving voxels.

        The baseline shifts the centroid of the whole moving gland onto that of the
        fixed gland in the frames seen, turned and scaled as the pair's own alignment
        has it; corner on corner, where that is the identity, a millimetre stays a
        millimetre. Where the frames miss the gland, it is that of all other stages.
        """
        own = self.outputs["matrix"], self.outputs["offset"]
        if stage != BASELINE:
            return own
        moving, fixed = (labels[0] for labels in self.case.labels)
        points = metric.centroid(moving), metric.centroid(fixed * self.seen)
        if points[0] is None or points[1] is None:
            return own
        matrix = own[0].astype(np.float64)
        if np.array_equal(matrix, np.eye(3)):
            matrix = np.diag(self.case.fixed_spacing_mm / self.case.moving_spacing_mm)
        return matrix.astype(np.float32), points[0] - matrix @ points[1]

    def field(self, stage: str) -> Field:
        """
        Return the network's field as displacements in space.

        :param stage: unadapted or adapted.
        :return: the field; beyond the network's grid it goes on as at its border.
        """
        turn = self.case.fixed_affine[:3, :3]
        with np.errstate(invalid="ignore"):  # who writes or scores it will tell
            vectors = self.ddf(stage).astype(np.float64) @ turn.T
        return Field(self.case.fixed_grid, vectors, outside="border")

    def transform(self, stage: str) -> Transform:
        """
        Return the whole transform of a stage, fixed to moving space in mm.

        y = A (x + u(x)) + t of the voxels is, in space, the field first and an affine
        map afterwards.

        :param stage: before, unadapted, adapted or the baseline.
        """
        case = self.case
        to_moving = from_parts(*self.alignment(stage))
        matrix = case.moving_affine @ to_moving @ np.linalg.inv(case.fixed_affine)
        if stage in WITHOUT_NETWORK:
            return Transform((Affine(matrix),))
        return Transform((self.field(stage), Affine(matrix)))
