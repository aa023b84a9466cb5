"""Reconstruction of the validation faces of both identities."""

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from tests.faceset.blobs import write_faceset

from visagist.core.errors import RunError
from visagist.evaluation.fidelity import MIN_MS_SSIM_SIDE
from visagist.evaluation.reconstruction import compare_validation_faces, reconstruct
from visagist.faceset import Faceset
from visagist.models import create
from visagist.models.bundle import WEIGHTS, NetworkRecord, Origin, TrainedNetwork, save_network

COUNT, VALIDATION = 16, 3
MEASURES = ("ssim", "psnr", "ms_ssim")
NARROW = {"encoder": [8, 16, 16], "latent": 16, "shared": 8, "decoder": [16, 16, 8, 8]}

Made = tuple[TrainedNetwork, dict[str, Faceset]]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """An untrained network with the record of a run on these facesets."""
    folder = tmp_path_factory.mktemp("small")
    facesets = {
        "source": Faceset.open(write_faceset(folder / "source", 1, COUNT)),
        "target": Faceset.open(write_faceset(folder / "target", 2, COUNT + 5)),
    }
    return saved(folder, 32, facesets), facesets


def saved(folder: Path, size: int, facesets: dict[str, Faceset]) -> TrainedNetwork:
    settings = {**NARROW, "size": size}
    origins = {
        name: Origin(crops=len(each), validation=VALIDATION, footage=tuple(each.footage_hashes))
        for name, each in facesets.items()
    }
    record = NetworkRecord(
        architecture="quick", config=settings, coverage="full", size=size, identities=tuple(facesets), origins=origins,
        iteration=1,
    )  # fmt: skip
    torch.manual_seed(0)
    save_network(folder / WEIGHTS, create("quick", record.identities, **settings).state_dict(), record)
    return TrainedNetwork.open(folder, "cpu")


def test_the_last_crops_of_each_identity_are_reconstructed(small: Made) -> None:
    run, facesets = small
    for name, faceset in facesets.items():
        found = compare_validation_faces(run, name, faceset)
        assert found.keys() == {"ssim", "psnr"}  # too small for MS-SSIM
        images, hulls, *_ = faceset.load(run.coverage, run.size, 1.0)
        originals, insides = images[-VALIDATION:].astype(np.float32) / 255, hulls[-VALIDATION:] > 127
        drawn = run.predict(torch.from_numpy(originals).permute(0, 3, 1, 2), name)[0].permute(0, 2, 3, 1).numpy()
        for i, (original, inside) in enumerate(zip(originals, insides, strict=True)):
            error = float(((drawn[i][inside] - original[inside]) ** 2).mean())
            assert found["psnr"][i] == pytest.approx(-10 * np.log10(error), abs=0.01)
            _, values = structural_similarity(
                drawn[i], original, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0,
                channel_axis=2, full=True,
            )  # fmt: skip
            assert found["ssim"][i] == pytest.approx(values[inside].mean(), abs=0.01)


def test_large_networks_have_ms_ssim(small: Made, tmp_path: Path) -> None:
    facesets = small[1]
    found = reconstruct(saved(tmp_path, MIN_MS_SSIM_SIDE, facesets), facesets)
    assert found.keys() == facesets.keys()
    for figures in found.values():
        assert {name: figure.count for name, figure in figures.items()} == dict.fromkeys(MEASURES, VALIDATION)
        assert 0 < figures["ms_ssim"].value < 1


@pytest.mark.parametrize("pick", [("target", "source"), ("source", "source")])
def test_facesets_of_other_people_are_refused(small: Made, pick: tuple[str, str]) -> None:
    run, facesets = small
    with pytest.raises(RunError, match=r"not the (source|target) faceset that .* was trained on"):
        reconstruct(run, {name: facesets[other] for name, other in zip(facesets, pick, strict=True)})


def test_a_faceset_that_lost_a_crop_is_refused(small: Made, tmp_path: Path) -> None:
    run, facesets = small
    thinned = Faceset.open(write_faceset(tmp_path / "source", 1, COUNT - 1))
    with pytest.raises(RunError, match=f"{COUNT - 1} crops, then {COUNT}"):
        reconstruct(run, {**facesets, "source": thinned})
