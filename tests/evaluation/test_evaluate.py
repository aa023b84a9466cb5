"""Whole evaluations of renders made by pasting real faces of the source onto one second of the target."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.cli.conftest import first_frames, write_frames
from tests.cli.conftest import visagist as command

import visagist
from visagist.core.errors import EvaluationError, FootageError, NoFaceError
from visagist.demo import SOURCE, TARGET
from visagist.evaluation import Evaluation, metric
from visagist.evaluation.baselines import CopyPaste
from visagist.evaluation.collect_frames import NO_MATCH, NOT_SWAPPED
from visagist.evaluation.evaluation_data import Source
from visagist.evaluation.observe import crop_of, observe_source
from visagist.evaluation.result import NOISE, PASTE, RENDER
from visagist.evaluation.result import TARGET as UNSWAPPED
from visagist.faces import Face, FaceTable, analyze, crop_matrix, invert, transform
from visagist.jobs.evaluate import EvaluateOptions
from visagist.jobs.extract import extract
from visagist.media import frame_from_rgb

COUNT, SIZE = 16, 160
FEW = 6  # frames, where nothing depends on how many


@dataclass(frozen=True)
class Scene:
    """A target of `COUNT` frames, the source's faceset, and the frames of a swap by pasting."""

    folder: Path
    target: Path
    faces: Path
    workspace: Path
    original: list[np.ndarray]
    swapped: list[np.ndarray]

    def evaluate(self, frames: Sequence[np.ndarray] | Path, **options: object) -> Evaluation:
        """An evaluation of these frames as a render."""
        render = frames if isinstance(frames, Path) else self.folder / "render.mp4"
        if not isinstance(frames, Path):
            write_frames(render, list(frames))
        return visagist.evaluate(
            render,
            str(self.target),
            self.faces,
            workspace=self.workspace,
            device="cpu",
            options=EvaluateOptions.model_validate(options),
        )


@pytest.fixture(scope="module", autouse=True)
def few_draws() -> Iterator[None]:
    """Intervals are tested in test_metric.py; the bootstrap takes a third of such a short evaluation."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metric, "RESAMPLES", 40)
        yield


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder = tmp_path_factory.mktemp("scene")
    target, workspace = folder / "target.mp4", folder / "workspace"
    write_frames(target, first_frames(TARGET, COUNT))
    clip = folder / "source.mp4"
    write_frames(clip, first_frames(SOURCE / "s1_bbaf2n.mpg", 24)[::3])  # neighbouring frames are too similar
    faceset = extract(clip, folder / "faces")
    table = analyze(target, workspace / "tables" / "target.mp4.parquet")
    source = observe_source(faceset, SIZE, lambda done: None)
    original = first_frames(target, COUNT)
    return Scene(folder, target, folder / "faces", workspace, original, pasted(original, table, source))


def pasted(frames: list[np.ndarray], table: FaceTable, source: Source) -> list[np.ndarray]:
    """`frames` with faces of the source."""
    faces: list[Face] = [table.faces_of(index)[0] for index in range(len(frames))]
    paster = CopyPaste.plan(source, faces)
    result: list[np.ndarray] = []
    for frame, face in zip(frames, faces, strict=True):
        matrix = crop_matrix(face.alignment, "whole", SIZE)
        crop = crop_of(frame_from_rgb(frame), matrix, SIZE)
        changed = paster.paste(face.frame, crop, transform(matrix, face.landmarks[:, :2].astype(np.float64)))
        difference = (changed.astype(np.float32) - crop) / 255
        size = (frame.shape[1], frame.shape[0])
        result.append(np.clip(frame + cv2.warpAffine(difference, invert(matrix), size), 0, 1))
    return result


def value(found: Evaluation, name: str, column: str = RENDER) -> float:
    return next(entry for entry in found.columns if entry.name == column).figures[name].value


def flagged(found: Evaluation, reason: str) -> list[int | None]:
    return [flag.frame for flag in found.flags if reason in flag.reason]


@pytest.fixture(scope="module")
def evaluated(scene: Scene) -> Evaluation:
    return scene.evaluate(scene.swapped)


def test_a_swap_is_distinguished_from_its_target(evaluated: Evaluation) -> None:
    assert [column.name for column in evaluated.columns] == [RENDER, UNSWAPPED, PASTE, NOISE]
    assert evaluated.coverage.share == 1.0
    assert value(evaluated, "identity_calibrated") > 0.5 > 0.3 > value(evaluated, "identity_calibrated", UNSWAPPED)
    assert value(evaluated, "retrieval") > 0.9 > 0.1 > value(evaluated, "retrieval", UNSWAPPED)
    assert value(evaluated, "leakage") < value(evaluated, "leakage", UNSWAPPED) - 0.3
    assert value(evaluated, "pose_yaw") < 1.5
    assert value(evaluated, "outside_psnr") > 35
    assert evaluated.provenance["verdict"] == "no evidence"
    assert evaluated.planes_changed_outside is None
    assert not evaluated.is_mask_known
    assert any("no run was given" in note for note in evaluated.notes)
    assert not flagged(evaluated, "outside the face") + flagged(evaluated, "--offset")


def test_baselines_have_the_expected_values(evaluated: Evaluation) -> None:
    for name in ("pose_yaw", "expression_landmarks", "placement"):
        assert value(evaluated, name, UNSWAPPED) == pytest.approx(0, abs=1e-9)
        assert 0 < value(evaluated, name, NOISE) < 1
    assert value(evaluated, "seam_gradient", UNSWAPPED) == pytest.approx(1)
    assert value(evaluated, "flicker", UNSWAPPED) == pytest.approx(1)
    assert "flicker" not in next(column for column in evaluated.columns if column.name == NOISE).figures


def test_the_cli_reproduces_a_report_from_its_saved_call(scene: Scene, tmp_path: Path) -> None:
    render, report = tmp_path / "swap.mp4", tmp_path / "out" / "report.html"
    write_frames(render, scene.swapped[:FEW])
    visagist.evaluate(render, scene.target, scene.faces, report=report, workspace=scene.workspace, device="cpu")
    assert report.read_text().startswith("<!DOCTYPE html>")
    written = json.loads(report.with_suffix(".json").read_text())
    ended = command("evaluate", render, "--config", report.with_suffix(".toml"), "--json")
    assert ended.code == 0, ended.err
    summary = json.loads(ended.out.splitlines()[-1])
    assert summary["event"] == "summary"
    assert {**written, "event": "summary", "settings": summary["settings"]} == summary  # the same numbers at every call


@pytest.fixture(scope="module")
def gappy(scene: Scene) -> Evaluation:
    """Evaluation of a render with a gap and an early end, whose saved call considers every face uncertain."""
    render = scene.folder / "gappy.mp4"
    write_frames(render, [*scene.swapped[:4], *scene.original[4:6], *scene.swapped[6:8]])
    render.with_name("gappy.mp4.toml").write_text("min_score = 1e6\n")  # must not hide the hard frames
    return scene.evaluate(render)


def test_missing_frames_and_faces_are_flagged(gappy: Evaluation, evaluated: Evaluation) -> None:
    assert flagged(gappy, NOT_SWAPPED) == [4, 5]
    assert flagged(gappy, NO_MATCH) == list(range(8, COUNT))
    assert (gappy.coverage.paired_frames, len(gappy.frames)) == (8, 8)
    assert (gappy.coverage.swapped_frames, gappy.coverage.performer_frames) == (6, COUNT)
    assert value(gappy, "identity_calibrated") == pytest.approx(value(evaluated, "identity_calibrated"), abs=0.1)


def test_an_unswapped_render_is_reported(scene: Scene) -> None:
    found = scene.evaluate(scene.original[:FEW])
    assert found.coverage.swapped_frames == 0
    assert found.coverage.tracks_missed == found.coverage.tracks == 1
    assert value(found, "identity_calibrated") < 0.3
    assert "No swap" in dict(found.sentences())


def test_an_excerpt_is_matched_by_its_offset(scene: Scene) -> None:
    found = scene.evaluate(scene.swapped[6:12], offset=6 / 25)
    assert found.frames.tolist() == list(range(6, 12))
    assert found.coverage.swapped_frames == 6
    assert not flagged(found, "--offset")


def test_wrongly_matched_excerpts_and_graded_pictures_are_flagged(scene: Scene) -> None:
    found = scene.evaluate([frame * 0.85 for frame in scene.swapped[3:]])  # its clock begins at zero: all frames match
    (reason,) = (flag.reason for flag in found.flags if "--offset" in flag.reason)
    assert "3 frames later" in reason
    assert "--offset 0.120" in reason
    assert len(flagged(found, "outside the face")) == 1


def blobs(scene: Scene) -> list[np.ndarray]:
    noise = np.random.default_rng(0).random((FEW, *scene.original[0].shape))
    return [(cv2.GaussianBlur(frame, (0, 0), 20) * 3 > 1.5).astype(np.float32) for frame in noise]


def hidden(scene: Scene) -> list[np.ndarray]:
    frames = [frame.copy() for frame in scene.original[:FEW]]
    for frame in frames:
        frame[60:260, 90:270] = 0.5
    return frames


@pytest.mark.parametrize(
    ("render", "options", "message"),
    [
        (blobs, {}, r"render.mp4: not a render of .*target.mp4 .* dB"),
        (hidden, {}, f"no face found in any of the {FEW} frames"),
        (lambda scene: [frame[::2, ::2] for frame in scene.swapped], {}, r"180x144, but .*target.mp4 is 360x288"),
        (lambda scene: scene.swapped, {"offset": 50.0}, rf"0 of its {COUNT} frames .*--offset SECONDS"),
        (lambda scene: scene.swapped[:FEW], {"self_swap": True}, "different people"),
    ],
    ids=["another scene", "no face", "another size", "other times", "self-swap of different people"],
)
def test_invalid_input_is_refused(scene: Scene, render, options: dict[str, object], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        scene.evaluate(render(scene), **options)


def test_footage_without_a_face_is_refused(scene: Scene, tmp_path: Path) -> None:
    blank = tmp_path / "blank.mp4"
    write_frames(blank, [np.full_like(frame, 0.5) for frame in scene.original[:FEW]])
    for target, source in ((blank, scene.faces), (scene.target, blank)):
        with pytest.raises(NoFaceError, match=r"blank\.mp4"):
            visagist.evaluate(target, target, source, workspace=scene.workspace, device="cpu")


def test_a_perfect_self_swap_has_the_best_values(scene: Scene, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    write_frames(clip, scene.original[:FEW])
    own = extract(clip, tmp_path / "own")
    options = EvaluateOptions(self_swap=True)
    found = visagist.evaluate(clip, clip, own, workspace=tmp_path, device="cpu", options=options)
    assert set(found.self_swap) == {"ssim", "psnr", "flicker"}
    assert found.self_swap["ssim"].value == pytest.approx(1)
    assert found.self_swap["psnr"].value == 100  # dB, for equal pictures
    assert found.coverage.share == 1


def test_the_cli_refuses_invalid_options(scene: Scene, tmp_path: Path) -> None:
    missing = command("evaluate", tmp_path / "no.mp4", "--target", scene.target, "--source", scene.faces)
    assert missing.code == 1
    assert "no.mp4" in missing.err
    wrong = command("evaluate", scene.target, "--target", scene.target, "--source", scene.faces, "--report", "r.pdf")
    assert wrong.code == 2
    assert ".html" in wrong.err


def test_a_source_without_footage_is_refused(scene: Scene, tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    with pytest.raises(FootageError, match=r"text\.mp4"):
        visagist.evaluate(scene.target, scene.target, text, workspace=scene.workspace, device="cpu")
