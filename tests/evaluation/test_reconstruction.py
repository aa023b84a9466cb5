"""Held-out faces of both people, drawn by the run's own decoders."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from visagist.core.errors import RunError
from visagist.core.events import silent
from visagist.evaluation.reconstruction import reconstruct
from visagist.faces import crop_matrix, invert, mean_mesh, transform_landmarks
from visagist.faceset import Faceset, Record, write_crop
from visagist.models import create
from visagist.models.bundle import WEIGHTS, TrainedNetwork, save_network
from visagist.training import TrainOptions, TrainSummary
from visagist.training.data.crops import Side, load_crops
from visagist.training.train import train

COUNT, HELD_OUT = 24, 0.2
NARROW = {"encoder": [8, 16, 16], "latent": 16, "shared": 8, "decoder": [16, 16, 8, 8]}

Trained = tuple[TrainedNetwork, Faceset, Faceset, TrainSummary]


def write_faceset(folder: Path, seed: int, count: int = COUNT) -> Path:
    """Crops of coloured blobs where the mean face has its features."""
    generator = np.random.default_rng(seed)
    size, embedding = 96, generator.normal(size=128)
    matrix = crop_matrix(np.eye(2, 3), "head", size)
    color = generator.uniform(40, 220, (size, size, 3))
    landmarks = transform_landmarks(matrix, mean_mesh())
    folder.mkdir()
    for frame in range(count):
        picture = cv2.GaussianBlur(color + generator.normal(0, 30, color.shape), (0, 0), 4)
        record = Record(
            footage_sha256=f"{seed:064x}",
            frame=frame,
            time=str(frame),
            track=0,
            size=size,
            matrix=np.eye(2, 3).tolist(),
            alignment=invert(matrix).tolist(),
            landmarks=landmarks.tolist(),
            pose=[0.0, 0.0, 0.0],
            score=10.0,
            sharpness=0.5,
            width=40.0,
            blendshapes=[0.0] * 52,
            embedding=(embedding / np.linalg.norm(embedding)).tolist(),
        )
        write_crop(folder / f"{frame:03d}.png", np.clip(picture, 0, 255).astype(np.uint8), record)
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A run that was trained for a moment, its facesets, and what the training said of itself."""
    folder = tmp_path_factory.mktemp("small")
    source, target = write_faceset(folder / "source", 1), write_faceset(folder / "target", 2, COUNT + 5)
    options = {"settings": {**NARROW, "size": 32}, "batch": 2, "iterations": 20, "device": "cpu", "held_out": HELD_OUT}
    summary = train(source, target, folder / "run", TrainOptions.model_validate(options), silent)
    return TrainedNetwork.open(folder / "run", "cpu"), Faceset.open(source), Faceset.open(target), summary


def test_values_are_those_of_the_last_crops_drawn_as_themselves(small: Trained) -> None:
    run, source, target, _ = small
    found = reconstruct(run, {"source": source, "target": target})
    assert found.keys() == {"source", "target"}
    for name, faceset in (("source", source), ("target", target)):
        assert found[name].keys() == {"ssim", "psnr"}  # too small for MS-SSIM
        count = len(found[name]["ssim"])
        images, hulls, _ = faceset.load(run.coverage, run.size, 1.0)
        faces = torch.from_numpy(images[-count:]).permute(0, 3, 1, 2).float() / 255
        drawn = run.predict(faces, name)[0].permute(0, 2, 3, 1).numpy()
        for i in range(count):
            truth, inside = images[-count:][i].astype(np.float32) / 255, hulls[-count:][i] > 127
            error = float(((drawn[i][inside] - truth[inside]) ** 2).mean())
            assert found[name]["psnr"][i] == pytest.approx(-10 * np.log10(error), abs=0.01)
            _, values = structural_similarity(
                drawn[i],
                truth,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
                data_range=1.0,
                channel_axis=2,
                full=True,
            )
            assert found[name]["ssim"][i] == pytest.approx(values[inside].mean(), abs=0.01)


def test_the_held_out_crops_are_those_of_the_training(small: Trained) -> None:
    run, source, target, summary = small
    found = reconstruct(run, {"source": source, "target": target})
    for name, faceset in (("source", source), ("target", target)):
        crops = load_crops(faceset.path, run.coverage, run.size, TrainOptions().margin)
        assert len(found[name]["ssim"]) == Side(crops, HELD_OUT, torch.device("cpu")).held_out
        # The trainer judges the same faces by formulas of its own, over all pixels together.
        assert found[name]["psnr"].mean() == pytest.approx(summary.figures[f"psnr_{name}"], abs=0.5)
        assert found[name]["ssim"].mean() == pytest.approx(summary.figures[f"ssim_{name}"], abs=0.03)


def test_large_faces_have_ms_ssim_too(small: Trained, tmp_path: Path) -> None:
    run, source, target, _ = small
    settings = {**NARROW, "size": 176}
    record = run.record.model_copy(update={"config": settings, "size": 176})
    save_network(tmp_path / WEIGHTS, create("quick", run.identities, **settings).state_dict(), record)
    found = reconstruct(TrainedNetwork.open(tmp_path, "cpu"), {"source": source, "target": target})
    for values in found.values():
        assert values.keys() == {"ssim", "psnr", "ms_ssim"}
        assert len(values["ms_ssim"]) == len(values["ssim"])
        assert ((values["ms_ssim"] > 0) & (values["ms_ssim"] < 1)).all()  # nothing was trained


@pytest.mark.parametrize("pick", [lambda source, target: (target, source), lambda source, target: (source, source)])
def test_facesets_of_other_people_are_refused(
    small: Trained, pick: Callable[[Faceset, Faceset], tuple[Faceset, Faceset]]
) -> None:
    run, source, target, _ = small
    with pytest.raises(RunError, match=r"not the (source|target) faceset that .* was trained on"):
        reconstruct(run, dict(zip(("source", "target"), pick(source, target), strict=True)))


def test_a_faceset_that_lost_a_crop_is_refused(small: Trained, tmp_path: Path) -> None:
    run, _, target, _ = small
    thinned = Faceset.open(write_faceset(tmp_path / "source", 1, COUNT - 1))
    with pytest.raises(RunError, match=f"{COUNT - 1} crops, then {COUNT}"):
        reconstruct(run, {"source": thinned, "target": target})
