"""A subject swapped onto themselves: the one swap whose right answer is known, the original.

- `compare_self`: PSNR and SSIM inside the mask of each frame against the original
- `with_all_swapped`: the frames that count: all
- `check_same_person`: whether source and target are one person, as a self-swap needs
- `seen_in_training`: whether the target is footage that the run was trained on

How to make one: take two or more clips of one person; extract the source from some of them and the target from others,
train, and merge into a clip that neither faceset has seen. A perfect pipeline would give that clip back. What it loses
- detail, light, lids and teeth that the networks cannot draw, and edges, colours and steadiness that the merge cannot
keep - is the floor under every swap made with the same settings: a swap of two people cannot be better. Steadiness is
measured by the flicker metric, which has its own right answer in every swap.

It is fooled by a merge that does nothing (the original is perfectly like itself): see the coverage; and by blur, which
costs little in both figures: see the sharpness.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from visagist.core.errors import EvaluationError
from visagist.evaluation.collect_frames import NOT_SWAPPED, Gathered
from visagist.evaluation.embedder import SAME_PERSON as SAME_IN_DLIB
from visagist.evaluation.embedder import mean_direction
from visagist.evaluation.evaluation_data import Case
from visagist.evaluation.fidelity import masked_psnr, masked_ssim
from visagist.models.bundle import TrainedNetwork
from visagist.provenance.consent import SAME_PERSON as SAME_IN_SFACE


def compare_self(
    targets: NDArray[np.uint8], renders: NDArray[np.uint8], masks: NDArray[np.uint8]
) -> dict[str, NDArray[np.float64]]:
    """How near each frame comes to the original, inside the mask.

    Args:
        targets: `(N, S, S, 3)` RGB, the originals.
        renders: `(N, S, S, 3)` RGB, the self-swap through the same way into the crop.
        masks: `(N, S, S)` above 127 where the face was replaced.

    Returns:
        `ssim` and `psnr` (dB), `(N,)` each. NaN where the mask is empty; a frame that was not changed has 1 and
        infinity.
    """
    return {"ssim": masked_ssim(renders, targets, masks), "psnr": masked_psnr(renders, targets, masks)}


def with_all_swapped(gathered: Gathered, *, is_mask_known: bool) -> Gathered:
    """The same with every frame counted that the merge went through, also where no change shows.

    A perfect self-swap changes nothing; to leave out what was not seen to change would leave out the best frames.

    Args:
        gathered: as seen by what changed.
        is_mask_known: then the merge went through the frames whose mask is not empty; else through all.
    """
    case = gathered.case
    through = np.array([mask.any() for mask in case.masks]) if is_mask_known else np.ones(len(case.frames), np.bool_)
    kept = tuple(flag for flag in gathered.flags if flag.reason != NOT_SWAPPED)
    coverage = replace(gathered.coverage, swapped_frames=int(through.sum()))
    return replace(gathered, case=replace(case, is_swapped=through), coverage=coverage, flags=kept)


def check_same_person(case: Case) -> None:
    """Refuse a self-swap of two people: likeness to the original would then be a fault.

    Two networks must agree that the target's own face is the source's: dlib's and SFace, each by the mean over the
    frames against the source's.

    Raises:
        EvaluationError: either takes them for two people.
    """
    source, target = case.source, case.target
    dlib = float(source.centroid(source.independent) @ mean_direction(target.independent))
    sface = float(source.centroid(source.sface) @ mean_direction(target.sface))
    if not (dlib >= SAME_IN_DLIB and sface >= SAME_IN_SFACE):  # NaN, where no face was found, is no match
        raise EvaluationError(
            f"a self-swap is of one person, and the target shows another than the source (similarity {dlib:.3f} by "
            f"dlib, {SAME_IN_DLIB} is the least; {sface:.2f} by SFace, {SAME_IN_SFACE} is the least); leave "
            "--self-swap away, or give the source of this person"
        )


def seen_in_training(run: TrainedNetwork, target_sha256: str) -> bool:
    """Whether a run was trained on this very target, as either side: the floor is then lower than it looks.

    Args:
        run: that made the self-swap.
        target_sha256: hash of the target's footage (`faces.footage_sha256`).
    """
    return any(target_sha256 in origin.footage for origin in run.origins.values())
