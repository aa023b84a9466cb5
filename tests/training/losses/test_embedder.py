"""SFace inside torch against onnxruntime, and the identity loss, on the bundled speakers' faces."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from tests.training.losses.conftest import swap_prediction
from visagist.core.errors import ConfigError
from visagist.core.types import Coverage
from visagist.faces import Face, align, crop_matrix, similarity
from visagist.faces.align import mean_mesh, transform
from visagist.faces.identity import TEMPLATE, five_points
from visagist.media import Frame
from visagist.training.losses import LOSSES
from visagist.training.losses.embedder import aligned, aligned_grid
from visagist.zoo import locate
from visagist.zoo.onnx_module import OnnxModule
from visagist.zoo.sessions import session

FRONTAL = 0.9  # cosine of the same face through face space and through its own five points


@pytest.fixture(scope="module")
def sface() -> OnnxModule:
    return OnnxModule(locate("sface"))


def crops(faces: list[tuple[Frame, Face]], coverage: Coverage, size: int) -> Tensor:
    """`(B, 3, size, size)` as a network sees them."""
    warped = [frame.warp(crop_matrix(align(f.landmarks), coverage, size), (size, size)) for frame, f in faces]
    return torch.from_numpy(np.stack(warped)).permute(0, 3, 1, 2)


def embeddings(faces: list[tuple[Frame, Face]]) -> Tensor:
    """`(B, 128)`: those that `faces.embed` gave."""
    found = [face.embedding for _, face in faces]
    return torch.from_numpy(np.stack([embedding for embedding in found if embedding is not None]))


def identity_loss(rgb: Tensor, centroid: Tensor) -> Tensor:
    return LOSSES["identity"](replace(swap_prediction(), rgb=rgb, centroid=centroid)).sum()


def test_equals_onnxruntime_on_real_faces(real_faces: list[tuple[Frame, Face]], sface: OnnxModule) -> None:
    pictures = [frame.warp(similarity(five_points(face.landmarks), TEMPLATE), (112, 112)) for frame, face in real_faces]
    inputs = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()
    with torch.no_grad():
        ours = sface(inputs * 255)
    found = [session("sface").run(None, {"data": picture[None].numpy() * 255})[0] for picture in inputs]
    expected = torch.from_numpy(np.concatenate([np.asarray(embedding) for embedding in found]))
    assert (ours - expected).abs().max().item() < 1e-3
    assert torch.cosine_similarity(ours, expected).min().item() > 0.9999
    assert torch.allclose(normalize(ours), embeddings(real_faces), atol=1e-3)


@pytest.mark.parametrize(
    ("coverage", "size", "minimum"),
    [
        ("full", 128, FRONTAL),
        ("full", 512, FRONTAL),
        ("whole", 128, FRONTAL),
        ("head", 304, FRONTAL),
        ("mid", 96, 0.85),
    ],
)
def test_a_networks_faces_are_recognised(
    real_faces: list[tuple[Frame, Face]], sface: OnnxModule, coverage: Coverage, size: int, minimum: float
) -> None:
    with torch.no_grad():
        found = normalize(sface(aligned(crops(real_faces, coverage, size), *aligned_grid(coverage, size)) * 255))
    cosines = found @ embeddings(real_faces).T  # (4, 4): two of the source, two of the target
    assert cosines.diagonal().min().item() > minimum
    assert cosines[:2, :2].min().item() > 0.6
    assert cosines[2:, :2].max().item() < 0.45


@pytest.mark.parametrize(("coverage", "size"), [("full", 128), ("full", 96), ("half", 256), ("whole", 448)])
def test_the_mean_faces_points_lie_on_sfaces_template(coverage: Coverage, size: int) -> None:
    """Sampling ramps of x and y gives the source coordinates of the template's points."""
    grid, factor = aligned_grid(coverage, size)
    assert size % factor == 0
    line = (torch.arange(size) + 0.5) / size * 2 - 1  # as grid_sample counts
    ramps = torch.stack(torch.meshgrid(line, line, indexing="xy"))[None]
    ramps = torch.nn.functional.avg_pool2d(ramps, factor)
    sampled = torch.nn.functional.grid_sample(ramps, grid, padding_mode="border", align_corners=False)[0]
    points = five_points(mean_mesh())
    places = transform(crop_matrix(np.eye(2, 3), coverage, size), points)
    at = transform(similarity(points, TEMPLATE), points).round().astype(int)  # px of SFace's picture
    for (x, y), place in zip(at, places, strict=True):
        assert ((sampled[:, y, x].numpy() + 1) * size / 2 - 0.5) == pytest.approx(place, abs=size / 60)


def test_a_coverage_without_eyes_is_refused() -> None:
    with pytest.raises(ConfigError, match="'mouth'"):
        aligned_grid("mouth", 128)


def test_gradient_of_the_identity_loss(real_faces: list[tuple[Frame, Face]]) -> None:
    """A step along the gradient changes the loss by the gradient's norm."""
    faces, centroid = crops(real_faces[:1], "full", 128).requires_grad_(), embeddings(real_faces)[2]
    (gradient,) = torch.autograd.grad(identity_loss(faces, centroid), faces)
    step = 0.05 * gradient / gradient.norm()
    with torch.no_grad():
        ahead, behind = (identity_loss(faces + sign * step, centroid).item() for sign in (1, -1))
    assert (ahead - behind) / 0.1 == pytest.approx(gradient.norm().item(), rel=0.05)


def test_minimised_it_makes_one_face_another(real_faces: list[tuple[Frame, Face]]) -> None:
    target, centroid = crops(real_faces[2:3], "full", 128), embeddings(real_faces)[0]
    change = torch.zeros_like(target, requires_grad=True)
    optimizer = torch.optim.Adam([change], lr=0.01)
    before = identity_loss(target, centroid).item()
    for _ in range(6):
        optimizer.zero_grad()
        identity_loss(target + change, centroid).backward()
        optimizer.step()
    assert before > 0.55
    assert identity_loss(target + change, centroid).item() < before - 0.2
