"""Whole evaluations, of renders made here: real faces of the source pasted onto a second of the target."""

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
from visagist.core.events import silent
from visagist.demo import SOURCE, TARGET
from visagist.evaluation import Evaluation, metric
from visagist.evaluation.baselines import Paster
from visagist.evaluation.evaluation_data import Source
from visagist.evaluation.observe import crop_of, look_at_source
from visagist.evaluation.result import NOISE, PASTE, RENDER
from visagist.evaluation.result import TARGET as UNSWAPPED
from visagist.faces import Face, FaceTable, analyze, crop_matrix, invert, transform
from visagist.faceset import Faceset
from visagist.jobs.evaluate import EvaluateOptions
from visagist.jobs.extract import extract
from visagist.media import frame_from_rgb

COUNT, SIZE = 18, 160


@dataclass(frozen=True)
class Scene:
    """A target of `COUNT` frames, the source's faceset, and the frames of a swap by pasting."""

    folder: Path
    target: Path
    faces: Path
    workspace: Path
    original: list[np.ndarray]
    swapped: list[np.ndarray]

    def evaluate(self, frames: Sequence[np.ndarray] | Path, options: EvaluateOptions | None = None) -> Evaluation:
        """An evaluation of these frames as a render."""
        render = frames if isinstance(frames, Path) else self.folder / "render.mp4"
        if not isinstance(frames, Path):
            write_frames(render, list(frames))
        return visagist.evaluate(
            render, self.target, self.faces, options or EvaluateOptions(), None, None, self.workspace, "cpu", silent
        )


@pytest.fixture(scope="module", autouse=True)
def few_draws() -> Iterator[None]:
    """Intervals are judged in test_metric.py, and drawing takes a third of an evaluation as short as these."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metric, "RESAMPLES", 40)
        yield


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder = tmp_path_factory.mktemp("scene")
    target, workspace = folder / "target.mp4", folder / "workspace"
    write_frames(target, first_frames(TARGET, COUNT))
    extract(SOURCE / "s1_bbaf2n.mpg", folder / "faces")
    for crop in [crop for place, crop in enumerate(sorted((folder / "faces").glob("*.jpg"))) if place % 3]:
        crop.unlink()  # neighbours in time are alike, and each evaluation looks at all
    table = analyze(target, workspace / "tables" / "target.mp4.parquet")
    source = look_at_source(Faceset.open(folder / "faces"), SIZE, lambda done: None)
    original = first_frames(target, COUNT)
    return Scene(folder, target, folder / "faces", workspace, original, pasted(original, table, source))


def pasted(frames: list[np.ndarray], table: FaceTable, source: Source) -> list[np.ndarray]:
    """`frames` with faces of the source."""
    faces: list[Face] = [table.faces_of(index)[0] for index in range(len(frames))]
    paster = Paster.plan(source, faces)
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


@pytest.fixture(scope="module")
def judged(scene: Scene) -> Evaluation:
    return scene.evaluate(scene.swapped)


def test_a_swap_is_told_from_its_target(judged: Evaluation) -> None:
    assert [column.name for column in judged.columns] == [RENDER, UNSWAPPED, PASTE, NOISE]
    assert judged.coverage.share == 1.0
    assert value(judged, "identity_calibrated") > 0.5 > 0.3 > value(judged, "identity_calibrated", UNSWAPPED)
    assert value(judged, "retrieval") > 0.9 > 0.1 > value(judged, "retrieval", UNSWAPPED)
    assert value(judged, "leakage") < value(judged, "leakage", UNSWAPPED) - 0.3
    assert value(judged, "pose_yaw") < 1.5
    assert value(judged, "outside_psnr") > 35
    assert judged.provenance["verdict"] == "no evidence"
    assert judged.planes_changed_outside is None
    assert any("no run was given" in note for note in judged.notes)


def test_the_baselines_stand_where_they_must(judged: Evaluation) -> None:
    for name in ("pose_yaw", "expression_landmarks", "placement"):
        assert value(judged, name, UNSWAPPED) == pytest.approx(0, abs=1e-9)
        assert 0 < value(judged, name, NOISE) < 1
    assert value(judged, "seam_gradient", UNSWAPPED) == pytest.approx(1)
    assert value(judged, "flicker", UNSWAPPED) == pytest.approx(1)
    assert "flicker" not in next(column for column in judged.columns if column.name == NOISE).figures


def test_twice_gives_the_same_numbers(scene: Scene, judged: Evaluation) -> None:
    again = scene.evaluate(scene.swapped)
    assert json.dumps(again.as_json()["columns"]) == json.dumps(judged.as_json()["columns"])


def test_an_unswapped_render_is_said_to_be_one(scene: Scene) -> None:
    found = scene.evaluate(scene.original)
    assert found.coverage.swapped_frames == 0
    assert found.coverage.tracks_missed == found.coverage.tracks == 1
    assert value(found, "identity_calibrated") < 0.3
    assert any("own face in every frame" in note for note in found.notes)


def test_a_gap_is_flagged_and_not_averaged_away(scene: Scene, judged: Evaluation) -> None:
    frames = [*scene.swapped[:10], *scene.original[10:15], *scene.swapped[15:]]
    found = scene.evaluate(frames)
    assert found.coverage.swapped_frames == COUNT - 5
    missed = [flag.frame for flag in found.flags if "left it as it is" in flag.reason]
    assert missed == list(range(10, 15))
    assert value(found, "identity_calibrated") == pytest.approx(value(judged, "identity_calibrated"), abs=0.1)


def test_a_shorter_render_is_flagged(scene: Scene) -> None:
    found = scene.evaluate(scene.swapped[:13])
    missing = [flag.frame for flag in found.flags if flag.reason.startswith("the render has no frame")]
    assert missing == list(range(13, COUNT))
    assert found.coverage.paired_frames == 13
    assert len(found.frames) == 13


def test_an_excerpt_is_laid_where_it_belongs(scene: Scene, judged: Evaluation) -> None:
    found = scene.evaluate(scene.swapped[6:], EvaluateOptions(offset=6 / 25))
    assert found.frames.tolist() == list(range(6, COUNT))
    assert found.coverage.swapped_frames == COUNT - 6
    assert not [flag for flag in found.flags if "likely to lie elsewhere" in flag.reason]


def test_an_excerpt_that_lies_elsewhere_is_flagged_with_its_place(scene: Scene) -> None:
    found = scene.evaluate(scene.swapped[4:])  # its clock begins at zero: every frame finds a partner, a wrong one
    flagged = [flag.reason for flag in found.flags if "likely to lie elsewhere" in flag.reason]
    assert len(flagged) == 1
    assert "4 frames later" in flagged[0]
    assert "--offset 0.160" in flagged[0]


def test_footage_that_is_no_render_of_the_target_is_refused(scene: Scene) -> None:
    noise = np.random.default_rng(0).random((COUNT, *scene.original[0].shape))
    with pytest.raises(EvaluationError, match=r"render.mp4: is no render of .*target.mp4 .* dB only"):
        scene.evaluate([cv2.GaussianBlur(frame, (0, 0), 20) * 3 - 1.5 > 0 for frame in noise])


def test_a_picture_that_is_changed_as_a_whole_is_flagged(scene: Scene, judged: Evaluation) -> None:
    found = scene.evaluate([frame * 0.85 for frame in scene.swapped])
    assert any("outside the face the render is like the target to" in flag.reason for flag in found.flags)
    assert not any("outside the face the render is like the target to" in flag.reason for flag in judged.flags)


def test_what_a_merge_left_out_as_uncertain_counts_as_not_swapped(scene: Scene, tmp_path: Path) -> None:
    frames = [*scene.swapped[:9], *scene.original[9:]]
    render = tmp_path / "choosy.mp4"
    write_frames(render, frames)
    # The call that a merge would save which takes no face for certain: its own measure must not hide the hard frames.
    render.with_name("choosy.mp4.toml").write_text("min_score = 1e6\n")
    found = scene.evaluate(render)
    assert found.coverage.performer_frames == COUNT
    assert found.coverage.swapped_frames == 9


def test_another_size_is_refused(scene: Scene) -> None:
    with pytest.raises(EvaluationError, match=r"render.mp4: 180x144, and .*target.mp4 is 360x288; .*own size"):
        scene.evaluate([frame[::2, ::2] for frame in scene.swapped])


def test_other_times_are_refused(scene: Scene) -> None:
    with pytest.raises(EvaluationError, match=rf"0 of its {COUNT} frames .* have the time of .*--offset SECONDS"):
        scene.evaluate(scene.swapped, EvaluateOptions(offset=50.0))


def test_a_render_without_a_face_is_refused(scene: Scene) -> None:
    hidden = [frame.copy() for frame in scene.original]
    for frame in hidden:
        frame[60:260, 90:270] = 0.5
    with pytest.raises(EvaluationError, match=f"no face was found in any of the {COUNT} frames"):
        scene.evaluate(hidden)


def test_a_target_without_a_face_is_refused(scene: Scene, tmp_path: Path) -> None:
    blank = tmp_path / "blank.mp4"
    write_frames(blank, [np.full_like(frame, 0.5) for frame in scene.original])
    with pytest.raises(NoFaceError, match=r"blank\.mp4"):
        visagist.evaluate(blank, blank, scene.faces, EvaluateOptions(), None, None, tmp_path / "w", "cpu", silent)
    with pytest.raises(NoFaceError, match=r"blank\.mp4"):
        visagist.evaluate(
            scene.target, scene.target, blank, EvaluateOptions(), None, None, tmp_path / "w", "cpu", silent
        )


def test_a_self_swap_of_two_people_is_refused(scene: Scene) -> None:
    with pytest.raises(EvaluationError, match="a self-swap is of one person"):
        scene.evaluate(scene.swapped, EvaluateOptions(self_swap=True))


def test_a_self_swap_is_compared_with_its_right_answer(scene: Scene, tmp_path: Path) -> None:
    extract(scene.target, tmp_path / "own")
    soft = [cv2.GaussianBlur(frame, (0, 0), 3) for frame in scene.original]
    render = tmp_path / "soft.mp4"
    write_frames(render, soft)
    found = visagist.evaluate(
        render,
        scene.target,
        tmp_path / "own",
        EvaluateOptions(self_swap=True),
        None,
        None,
        scene.workspace,
        "cpu",
        silent,
    )
    assert set(found.self_swap) == {"ssim", "psnr", "flicker"}
    assert 0.5 < found.self_swap["ssim"].value < 0.98
    assert 15 < found.self_swap["psnr"].value < 40
    assert found.coverage.share == 1


def test_a_self_swap_without_a_trace_is_the_best_there_is(scene: Scene, tmp_path: Path) -> None:
    extract(scene.target, tmp_path / "own")
    options = EvaluateOptions(self_swap=True)
    found = visagist.evaluate(
        scene.target, scene.target, tmp_path / "own", options, None, None, scene.workspace, "cpu", silent
    )
    assert found.self_swap["ssim"].value == pytest.approx(1)
    assert found.self_swap["psnr"].value == 100  # dB, for equal pictures


def test_the_command_line_writes_a_report(scene: Scene, tmp_path: Path) -> None:
    render, report = tmp_path / "swap.mp4", tmp_path / "out" / "report.html"
    write_frames(render, scene.swapped)
    paths = ("--target", scene.target, "--source", scene.faces, "--workspace", scene.workspace)
    ended = command("evaluate", render, *paths, "--report", report)
    assert ended.code == 0, ended.err
    assert "Furthest short of its aim" in ended.out
    assert "copy-paste" in ended.out
    assert report.read_text().startswith("<!DOCTYPE html>")
    written = json.loads(report.with_suffix(".json").read_text())
    assert written["coverage"]["share"] == 1.0
    assert report.with_suffix(".toml").is_file()
    ended = command("evaluate", render, "--config", report.with_suffix(".toml"), "--json")
    assert ended.code == 0, ended.err
    summary = json.loads(ended.out.splitlines()[-1])
    assert summary["event"] == "summary"
    assert summary["columns"] == written["columns"]


def test_the_command_line_refuses_what_cannot_be(scene: Scene, tmp_path: Path) -> None:
    missing = command("evaluate", tmp_path / "no.mp4", "--target", scene.target, "--source", scene.faces)
    assert missing.code == 1
    assert "no.mp4" in missing.err
    wrong = command("evaluate", scene.target, "--target", scene.target, "--source", scene.faces, "--report", "r.pdf")
    assert wrong.code == 2
    assert ".html" in wrong.err


def test_a_source_that_is_no_footage_is_refused(scene: Scene, tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    with pytest.raises(FootageError, match=r"text\.mp4"):
        visagist.evaluate(
            scene.target, scene.target, text, EvaluateOptions(), None, None, tmp_path / "w", "cpu", silent
        )
