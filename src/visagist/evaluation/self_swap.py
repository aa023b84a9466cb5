"""Self-swap: a subject swapped onto themselves in footage unseen in training, where the original is the ground truth.

The loss against the original is a lower bound for every swap with the same settings. The comparison is fooled by a
merge that does nothing (see the coverage) and by blur, which hardly affects either value (see the sharpness).
"""

from collections.abc import Mapping

import numpy as np

from visagist.core.errors import EvaluationError
from visagist.evaluation.embedder import SAME_PERSON as SAME_IN_DLIB
from visagist.evaluation.embedder import mean_direction
from visagist.evaluation.evaluation_data import EvaluationData
from visagist.evaluation.fidelity import masked_psnr, masked_ssim
from visagist.evaluation.metric import Figure, figure_of
from visagist.models.bundle import TrainedNetwork
from visagist.provenance.consent import SAME_PERSON as SAME_IN_SFACE

MAX_PSNR_DB = 100.0  # value for equal pictures


def compare_self(data: EvaluationData) -> Mapping[str, Figure]:
    """`ssim` and `psnr` (dB) of the swapped frames against the original, inside the mask."""
    pictures = (data.evaluated.crops, data.target.crops, data.masks)
    figures: dict[str, Figure] = {}
    for name, values in (("ssim", masked_ssim(*pictures)), ("psnr", masked_psnr(*pictures))):
        counted = np.where(data.is_swapped, np.minimum(values, MAX_PSNR_DB), np.nan)
        figures[name] = figure_of(counted, data.times, None, "higher")
    return figures


def check_same_person(data: EvaluationData) -> None:
    """Raise `EvaluationError` if source and target are different people according to dlib's network or SFace."""
    source, target = data.source, data.target
    dlib = float(source.centroid(source.independent) @ mean_direction(target.independent))
    sface = float(source.centroid(source.sface) @ mean_direction(target.sface))
    if not (dlib >= SAME_IN_DLIB and sface >= SAME_IN_SFACE):  # NaN, if no face was found, is no match
        raise EvaluationError(
            f"--self-swap: source and target are different people (similarity {dlib:.3f} by dlib, at least "
            f"{SAME_IN_DLIB} expected; {sface:.2f} by SFace, at least {SAME_IN_SFACE}); give other footage of the "
            "performer as source"
        )


def seen_in_training(run: TrainedNetwork, target_sha256: str) -> bool:
    """Whether a run was trained on this target, identified by the hash of its footage."""
    return any(target_sha256 in origin.footage for origin in run.origins.values())
