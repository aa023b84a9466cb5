"""A subject swapped onto themselves in footage that training has not seen: the one swap whose right answer is known.

What is lost against the original is the floor under every swap made with the same settings. It is fooled by a merge
that does nothing (see the coverage) and by blur, which costs little in both figures (see the sharpness).
"""

from collections.abc import Mapping

import numpy as np

from visagist.core.errors import EvaluationError
from visagist.evaluation.embedder import SAME_PERSON as SAME_IN_DLIB
from visagist.evaluation.embedder import mean_direction
from visagist.evaluation.evaluation_data import Case
from visagist.evaluation.fidelity import masked_psnr, masked_ssim
from visagist.evaluation.metric import Figure, figure_of
from visagist.models.bundle import TrainedNetwork
from visagist.provenance.consent import SAME_PERSON as SAME_IN_SFACE

MAX_PSNR_DB = 100.0  # stands for equal pictures


def compare_self(case: Case) -> Mapping[str, Figure]:
    """`ssim` and `psnr` (dB) of the swapped frames against the original, inside the mask."""
    pictures = (case.judged.crops, case.target.crops, case.masks)
    figures: dict[str, Figure] = {}
    for name, values in (("ssim", masked_ssim(*pictures)), ("psnr", masked_psnr(*pictures))):
        counted = np.where(case.is_swapped, np.minimum(values, MAX_PSNR_DB), np.nan)
        figures[name] = figure_of(counted, case.times, None, "higher")
    return figures


def check_same_person(case: Case) -> None:
    """Refuse a self-swap of two people.

    Raises:
        EvaluationError: dlib's network or SFace takes source and target for two people.
    """
    source, target = case.source, case.target
    dlib = float(source.centroid(source.independent) @ mean_direction(target.independent))
    sface = float(source.centroid(source.sface) @ mean_direction(target.sface))
    if not (dlib >= SAME_IN_DLIB and sface >= SAME_IN_SFACE):  # NaN, if no face was found, is no match
        raise EvaluationError(
            f"--self-swap: source and target are two people (similarity {dlib:.3f} by dlib, at least {SAME_IN_DLIB} "
            f"expected; {sface:.2f} by SFace, at least {SAME_IN_SFACE}); give other footage of the performer as source"
        )


def seen_in_training(run: TrainedNetwork, target_sha256: str) -> bool:
    """Whether a run was trained on this very target, given the hash of its footage."""
    return any(target_sha256 in origin.footage for origin in run.origins.values())
