"""Reconstruction of the validation faces of each identity, which were held out of training.

An upper bound for the swap, which uses the same decoder with another person's pose and light. Repetitive footage makes
it too optimistic, because validation faces are the last ones of each faceset.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from visagist.core.errors import RunError
from visagist.evaluation.fidelity import MIN_MS_SSIM_SIDE, masked_ms_ssim, masked_psnr, masked_ssim
from visagist.evaluation.metric import Figure, figure_of
from visagist.faceset import Faceset
from visagist.models.bundle import TrainedNetwork

BATCH = 16  # faces
CROP_INTERVAL_S = 0.04  # approximate time between neighbouring validation crops


def reconstruct(run: TrainedNetwork, facesets: Mapping[str, Faceset]) -> Mapping[str, Mapping[str, Figure]]:
    """Compare validation faces with their reconstructions, inside the hull of the landmarks.

    Args:
        run: the trained network.
        facesets: the facesets it was trained on, by identity.

    Returns:
        By identity, then by measure: `ssim`, `psnr` (dB), and `ms_ssim` for networks of 176 px or more.

    Raises:
        RunError: a faceset is not the one that the run was trained on.
        FacesetError: a crop is damaged.
    """
    for name, faceset in facesets.items():
        _check_trained_on(run, name, faceset)
    found: dict[str, dict[str, Figure]] = {}
    for name, faceset in facesets.items():
        values = compare_validation_faces(run, name, faceset)
        times = CROP_INTERVAL_S * np.arange(len(values["ssim"]), dtype=np.float64)
        found[name] = {measure: figure_of(each, times, None, "higher") for measure, each in values.items()}
    return found


def compare_validation_faces(run: TrainedNetwork, name: str, faceset: Faceset) -> dict[str, NDArray[np.float64]]:
    """`ssim`, `psnr` and, for 176 px or more, `ms_ssim` of each validation face of one identity, `(M,)`."""
    first = len(faceset) - run.origin(name).validation
    unseen = replace(faceset, files=faceset.files[first:], records=faceset.records[first:])
    crops, hulls, *_ = unseen.load(run.coverage, run.size, margin=1.0)  # (M, R, R, 3), (M, R, R)
    drawn = np.empty(crops.shape, np.float32)
    for i in range(0, len(crops), BATCH):
        faces = torch.from_numpy(crops[i : i + BATCH]).permute(0, 3, 1, 2).float() / 255  # (B, 3, R, R)
        rgb, _ = run.predict(faces, name)
        drawn[i : i + BATCH] = rgb.clamp(0, 1).permute(0, 2, 3, 1).numpy()
    originals = crops.astype(np.float32) / 255
    values = {"ssim": masked_ssim(drawn, originals, hulls), "psnr": masked_psnr(drawn, originals, hulls)}
    if run.size >= MIN_MS_SSIM_SIDE:
        values["ms_ssim"] = masked_ms_ssim(drawn, originals, hulls)
    return values


def _check_trained_on(run: TrainedNetwork, name: str, faceset: Faceset) -> None:
    """Compares the number of crops and the hashes of footage; hashes of pixels could differ between machines."""
    origin = run.origin(name)
    missing, new = set(origin.footage) - set(faceset.footage_hashes), set(faceset.footage_hashes) - set(origin.footage)
    if len(faceset) != origin.crops or missing or new:
        raise RunError(
            f"{faceset.path}: not the {name} faceset that {run.path} was trained on (now {len(faceset)} crops, then "
            f"{origin.crops}; footage files missing: {len(missing)}, new: {len(new)}); its validation faces are unknown"
        )
