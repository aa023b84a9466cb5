"""Face detection, tracking, description and alignment.

`analyze` processes footage into a `FaceTable`; `describe` processes a single picture. Coordinates are frame pixels
with pixel centres at integers. `align` defines face space and the coverages.
"""

from visagist.faces.align import (
    COVERAGES,
    Coverage,
    Square,
    align,
    compose,
    crop_matrix,
    crop_side,
    feature_mask,
    hull_mask,
    invert,
    mean_mesh,
    similarity,
    transform,
    transform_landmarks,
)
from visagist.faces.analyze import AnalyzeOptions, analyze, describe, known_table, picture_embeddings
from visagist.faces.clusters import cluster
from visagist.faces.detection import Detection, detect_faces
from visagist.faces.identity import embed, mean_embedding, sharpness
from visagist.faces.landmarks import Mesh, find_best_landmarks, find_landmarks, follow_landmarks
from visagist.faces.pose import BLENDSHAPE_NAMES, blendshapes, head_pose, head_rotation
from visagist.faces.segmentation import person_mask
from visagist.faces.smoothing import smooth_alignments
from visagist.faces.subject import choose_identity
from visagist.faces.table import Face, FaceTable, faces_embedding
from visagist.faces.tracking import Tracker, is_cut
from visagist.media import footage_sha256

__all__ = [
    "BLENDSHAPE_NAMES",
    "COVERAGES",
    "AnalyzeOptions",
    "Coverage",
    "Detection",
    "Face",
    "FaceTable",
    "Mesh",
    "Square",
    "Tracker",
    "align",
    "analyze",
    "blendshapes",
    "choose_identity",
    "cluster",
    "compose",
    "crop_matrix",
    "crop_side",
    "describe",
    "detect_faces",
    "embed",
    "faces_embedding",
    "feature_mask",
    "find_best_landmarks",
    "find_landmarks",
    "follow_landmarks",
    "footage_sha256",
    "head_pose",
    "head_rotation",
    "hull_mask",
    "invert",
    "is_cut",
    "known_table",
    "mean_embedding",
    "mean_mesh",
    "person_mask",
    "picture_embeddings",
    "sharpness",
    "similarity",
    "smooth_alignments",
    "transform",
    "transform_landmarks",
]
