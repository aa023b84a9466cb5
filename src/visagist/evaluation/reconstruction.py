"""How well a run draws faces that it knows but was not trained on: as themselves, where the right answer is known.

- `reconstruct`: held-out crops of both people, drawn by the run's own decoders
- `check_facesets`: whether these are the facesets that the run was trained on

It says what the networks can do at best: a swap has the same decoder and another person's pose and light. It says
nothing of identity or expression, and is fooled by footage that repeats itself: the held-out crops are the last ones
of each faceset, and where they look like those before, they are no test.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from visagist.core.errors import RunError
from visagist.evaluation.fidelity import LEAST_SIDE, masked_ms_ssim, masked_psnr, masked_ssim
from visagist.faceset import Faceset
from visagist.models.bundle import TrainedNetwork

BATCH = 16  # faces that go through the network at a time


def reconstruct(
    run: TrainedNetwork, facesets: Mapping[str, Faceset]
) -> Mapping[str, Mapping[str, NDArray[np.float64]]]:
    """Draw the held-out crops of everybody as themselves, and compare inside the hull of their landmarks.

    Args:
        run: the trained networks.
        facesets: that the run was trained on, by the names of the people (`source`, `target`, others).

    Returns:
        by person, then by measure: `ssim`, `psnr` (dB), and `ms_ssim` where the run's faces have
        176 px or more; `(M,)` each, one value a held-out crop, in the faceset's order.

    Raises:
        RunError: a faceset is not the one that the run was trained on.
        FacesetError: a crop is damaged.
    """
    check_facesets(run, facesets)
    return {name: _judged(run, faceset, name) for name, faceset in facesets.items()}


def check_facesets(run: TrainedNetwork, facesets: Mapping[str, Faceset]) -> None:
    """Refuse facesets that the run was not trained on: their last crops may be ones that it has seen.

    By number of crops and hashes of footage. The hash of the pixels, which the run knows too, may differ between
    machines that warp by other instructions.

    Raises:
        RunError: a faceset has other crops, or is of other footage.
    """
    for name, faceset in facesets.items():
        origin = run.origin(name)
        if len(faceset) == origin.crops and set(faceset.footage_hashes) == set(origin.footage):
            continue
        missing = len(set(origin.footage) - set(faceset.footage_hashes))
        more = len(set(faceset.footage_hashes) - set(origin.footage))
        raise RunError(
            f"{faceset.path}: not the {name} faceset that {run.path} was trained on: {len(faceset)} crops, then "
            f"{origin.crops}; {missing} of its {len(origin.footage)} pieces of footage are missing, {more} are new; "
            "give that one, to judge the run by faces that it has not seen"
        )


def _judged(run: TrainedNetwork, faceset: Faceset, identity: str) -> dict[str, NDArray[np.float64]]:
    first = len(faceset) - run.origin(identity).validation
    unseen = replace(faceset, files=faceset.files[first:], records=faceset.records[first:])
    truths, hulls, _ = unseen.load(run.coverage, run.size, margin=1.0)  # (M, R, R, 3), (M, R, R)
    drawn = np.empty(truths.shape, np.float32)
    for i in range(0, len(truths), BATCH):
        faces = torch.from_numpy(truths[i : i + BATCH]).permute(0, 3, 1, 2).float() / 255  # (B, 3, R, R)
        rgb, _ = run.predict(faces, identity)
        drawn[i : i + BATCH] = rgb.clamp(0, 1).permute(0, 2, 3, 1).numpy()
    right = truths.astype(np.float32) / 255
    values = {"ssim": masked_ssim(drawn, right, hulls), "psnr": masked_psnr(drawn, right, hulls)}
    if run.size >= LEAST_SIDE:
        values["ms_ssim"] = masked_ms_ssim(drawn, right, hulls)
    return values
