"""Output paths, consent checks and resuming, tested by whole merges of small clips."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import onnx
import pytest
from pydantic import ValidationError

import visagist
from tests.cli.conftest import CLIPS, command, first_frames, write_frames
from visagist.core.errors import (
    ConfigError,
    ConsentError,
    DamagedError,
    FacesetError,
    InterlacedError,
    NoFaceError,
    OutputError,
    RunError,
    SafeguardError,
    SubjectError,
)
from visagist.core.events import Event, Progress, silent
from visagist.core.locks import lock
from visagist.demo import SOURCE, TARGET
from visagist.faces import AnalyzeOptions, analyze, known_table
from visagist.faceset.extraction import STATE
from visagist.jobs.consent_checks import Records, check_footage
from visagist.jobs.extract import LOCK, ExtractOptions, extract, extract_faceset
from visagist.jobs.merge import Render
from visagist.jobs.train import train
from visagist.media import Reader, probe, write_picture
from visagist.merging import MergeOptions
from visagist.models.bundle import TrainedNetwork
from visagist.provenance import read_consent
from visagist.training import TrainOptions
from visagist.training.data.crops import load_crops
from visagist.zoo import sessions as weights

FRAMES = 30
SMALL = TrainOptions.model_validate(
    {
        "model": "quick",
        "settings": {"size": 32, "encoder": [8, 16, 16], "latent": 16, "shared": 8, "decoder": [16, 16, 8, 8]},
        "batch": 4,
        "iterations": 2,
        "preview_every": 2,
        "device": "cpu",
    }
)


@dataclass(frozen=True)
class Production:
    """Clips of the source, the target, and both side by side or one after the other, with their results."""

    folder: Path

    @property
    def source(self) -> Path:
        return self.folder / "source.mp4"

    @property
    def target(self) -> Path:
        return self.folder / "target.mp4"

    @property
    def both(self) -> Path:
        return self.folder / "both.mp4"

    @property
    def dialogue(self) -> Path:
        return self.folder / "dialogue.mp4"

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def run_of_both(self) -> Path:
        """Trained on the source's face in `both`."""
        return self.folder / "run_of_both"

    def record(self, name: str) -> Path:
        """`X_hash`: bound by the hash of clip X; `X_picture`: by a picture of X."""
        return self.folder / "records" / f"{name}.toml"

    def merge(self, output: Path, **changes: object) -> Render:
        """Merge the target, whose face table exists; `changes` are arguments or options of `merge`."""
        call: dict[str, object] = {
            "target": self.target,
            "run": self.run,
            "source_consent": self.record("source_hash"),
            "target_consent": self.record("target_hash"),
            "workspace": self.folder / "workspace",
            **changes,
        }
        options = MergeOptions.model_validate({n: call.pop(n) for n in set(call) & set(MergeOptions.model_fields)})
        return visagist.merge(**call, output=output, options=options, device="cpu")

    def preview(self, output: Path, **changes: object) -> None:
        call: dict[str, object] = {
            "target": self.target,
            "run": self.run,
            "source_consent": self.record("source_hash"),
            "target_consent": self.record("target_hash"),
            "workspace": output.parent / "no workspace",
            **changes,
        }
        visagist.preview(**call, output=output, frames="2", device="cpu")

    def swap(self, output: Path, **changes: object) -> Render:
        call: dict[str, object] = {
            "source": self.source,
            "target": self.target,
            "source_consent": self.record("source_hash"),
            "target_consent": self.record("target_hash"),
            "training": SMALL,
            **changes,
        }
        return visagist.swap(**call, output=output)


def new_record(path: Path, **binding: list[Path]) -> None:
    visagist.new_consent(
        path, name="speaker", adult=True, basis="research-corpus", statement="a test", scope="test",
        **binding,
    )  # fmt: skip


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> Production:
    made = Production(tmp_path_factory.mktemp("production"))
    source, target = first_frames(SOURCE / CLIPS[0], FRAMES), first_frames(TARGET, FRAMES)
    write_frames(made.source, source)
    write_frames(made.target, target)
    write_frames(made.both, [np.hstack(pair) for pair in zip(source[:12], target[:12], strict=True)])
    write_frames(made.dialogue, target[:8] + source[:8])
    made.record("").parent.mkdir()
    for name, picture in (("source", source[5]), ("target", target[5])):
        write_picture(made.folder / f"{name}.png", picture)
        new_record(made.record(f"{name}_picture"), pictures=[made.folder / f"{name}.png"])
    for clip in (made.source, made.target, made.both, made.dialogue):
        new_record(made.record(f"{clip.stem}_hash"), footage=[clip])
    keep_all = {"min_change": 0.0, "min_sharpness": 0.0, "min_score": 0.0}
    for name in ("source", "target"):
        extract(made.folder / f"{name}.mp4", made.folder / name, options=ExtractOptions(**keep_all))
    extract(made.both, made.folder / "both", reference=made.folder / "source.png", options=ExtractOptions(**keep_all))
    train(made.folder / "source", made.folder / "target", made.run, options=SMALL)
    train(made.folder / "both", made.folder / "target", made.run_of_both, options=SMALL)
    made.merge(made.folder / "made.mp4")
    return made


def pictures(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.glob("*.png"))


def test_the_hash_of_footage_with_several_people_does_not_bind(production: Production, tmp_path: Path) -> None:
    by_hash = {"run": production.run_of_both, "source_consent": production.record("both_hash")}
    with pytest.raises(ConsentError, match="several people"):
        production.merge(tmp_path / "out.mp4", **by_hash)
    with pytest.raises(ConsentError, match="several people"):
        production.preview(tmp_path / "sheet.png", **by_hash)
    assert not list(tmp_path.glob("*.*4"))
    by_picture = {**by_hash, "source_consent": production.record("source_picture"), "frames": "0-3"}
    assert production.merge(tmp_path / "out.mp4", **by_picture).frames == 4
    runs = [TrainedNetwork.open(run, "cpu") for run in (production.run, production.run_of_both)]
    assert [(run.origins["source"].is_alone, run.origins["target"].is_alone) for run in runs] == [
        (True, True),
        (False, True),
    ]
    with pytest.raises(ConsentError, match="another person"):
        production.merge(
            tmp_path / "other.mp4", **{**by_picture, "source_consent": production.record("target_picture")}
        )


def test_a_run_without_the_number_of_people_needs_pictures(production: Production, tmp_path: Path) -> None:
    faceset, run = tmp_path / "source", tmp_path / "run"
    shutil.copytree(production.folder / "source", faceset)
    (faceset / STATE).unlink()
    train(faceset, production.folder / "target", run, options=SMALL)
    for refused, name in ((production.merge, "film.mp4"), (production.preview, "sheet.png")):
        with pytest.raises(ConsentError, match="train") as caught:
            refused(tmp_path / name, run=run)
        assert "--picture" in str(caught.value)
    source = production.record("source_picture")
    assert production.merge(tmp_path / "out.mp4", run=run, source_consent=source, frames="0-3").frames == 4
    shutil.copy(production.folder / "source" / STATE, faceset)
    train(faceset, production.folder / "target", run, options=SMALL)  # the same crops, of which more is known
    assert production.merge(tmp_path / "out.mp4", run=run, frames="0-3").frames == 4


def test_only_a_finished_extraction_says_who_is_in_the_footage(production: Production, tmp_path: Path) -> None:
    faceset, size = tmp_path / "faceset", 32
    shutil.copytree(production.folder / "source", faceset)
    assert load_crops(faceset, "full", size, 1.0).is_alone
    assert load_crops(production.folder / "both", "full", size, 1.0).is_alone is False
    brought = next((production.folder / "target").glob("*.jpg"))
    shutil.copy(brought, faceset)
    assert load_crops(faceset, "full", size, 1.0).is_alone is None
    (faceset / brought.name).unlink()
    state = json.loads((faceset / "extract.json").read_text())
    (faceset / "extract.json").write_text(json.dumps({**state, "summary": None}))  # it was killed
    assert load_crops(faceset, "full", size, 1.0).is_alone is None
    (faceset / "extract.json").unlink()
    assert load_crops(faceset, "full", size, 1.0).is_alone is None


def test_a_few_frames_do_not_show_whether_the_performer_is_alone(production: Production, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    dialogue = {"target": production.dialogue, "target_consent": production.record("dialogue_hash")}
    with pytest.raises(ConsentError, match="--workspace") as caught:
        production.preview(sheet, **dialogue)  # frame 2 shows the performer alone
    assert "--picture" in str(caught.value)
    analyze(production.dialogue, tmp_path / "workspace" / "tables" / "dialogue.mp4.parquet")
    with pytest.raises(SubjectError, match="2 people"):
        production.preview(sheet, **dialogue, workspace=tmp_path / "workspace")
    assert not sheet.exists()
    production.preview(sheet, **{**dialogue, "target_consent": production.record("target_picture")})
    sheet.unlink()
    production.preview(sheet)  # the run was trained on this footage, and states that it shows the performer alone
    assert sheet.exists()


def test_inputs_are_never_overwritten(production: Production, tmp_path: Path) -> None:
    run, records = production.run, tmp_path / "records"
    shutil.copytree(production.folder / "records", records)
    shutil.copy(production.target, tmp_path / "target.mp4")
    target, beside = tmp_path / "target.mp4", records / "render.mp4.toml"
    shutil.copy(records / "target_hash.toml", beside)
    (tmp_path / "link.mp4").symlink_to(target)
    os.link(target, tmp_path / "hard.mp4")
    shots = tmp_path / "shots"
    shots.mkdir()
    for number, picture in enumerate(first_frames(TARGET, 3)):
        write_picture(shots / f"{number:06d}.png", picture)
    (tmp_path / "shots link").symlink_to(shots)
    before = {path: path.read_bytes() for folder in (tmp_path, run) for path in folder.rglob("*") if path.is_file()}
    sequence = {"target": shots}
    for output, changes in (
        (target, {}),
        (tmp_path / "records" / ".." / "target.mp4", {}),
        (tmp_path / "link.mp4", {}),
        (tmp_path / "hard.mp4", {}),
        (beside.with_suffix(""), {"target_consent": beside}),  # by the call that is saved beside it
        (records / "target_hash", {"target_consent": records / "target_hash.toml"}),
        (shots, sequence),
        (tmp_path / "shots link", sequence),
        (shots / "000001.png", {**sequence, "frames": "0-0"}),
        (run, {}),
        (run / "out.mp4", {}),
        (production.folder / "source.png", {"source_consent": production.record("source_picture"), "frames": "0-0"}),
        (tmp_path / "out.mp4", {**sequence, "matte": shots}),
        (tmp_path / "out.mp4", {"matte": run / "previews"}),
        (tmp_path / "frames", {"matte": tmp_path / "frames"}),
        (tmp_path / "frames", {"workspace": tmp_path / "frames"}),
        (tmp_path / "workspace" / "tables", {"workspace": tmp_path / "workspace"}),
        (tmp_path, {}),
        (Path(), {}),
        (Path(".."), {"workspace": tmp_path / "workspace"}),
    ):
        with pytest.raises(OutputError) as caught:
            production.merge(output, **{"target": target, "workspace": None, **changes})
        message = str(caught.value)
        assert "\n" not in message
        assert "choose another --" in message or "has no name" in message, message
    with pytest.raises(OutputError, match="choose another --output"):
        production.preview(run / "previews" / "00000002.png")
    with pytest.raises(OutputError, match=r"000001\.png"):
        production.preview(shots / "000001.png", target=shots)
    after = {path: path.read_bytes() for folder in (tmp_path, run) for path in folder.rglob("*") if path.is_file()}
    assert after == before


def test_a_swap_refuses_before_it_trains(production: Production, tmp_path: Path) -> None:
    clips, frames = tmp_path / "clips", tmp_path / "frames"
    clips.mkdir()
    frames.mkdir()
    clip = Path(shutil.copy(production.source, clips / "source.mp4"))
    (frames / "mine.png").write_bytes(b"a picture")
    before = clip.read_bytes()
    for output, matte, words in ((clip, None, "source.mp4"), (clips, None, "source.mp4"), (frames, None, "mine.png"),
                                 (tmp_path / "out.mp4", frames, "mine.png")):  # fmt: skip
        with pytest.raises(OutputError, match=words):
            production.swap(output, source=clips, merging=MergeOptions(matte=matte))
    assert clip.read_bytes() == before
    assert not list(tmp_path.glob("**/*.workspace"))


def test_footage_inside_the_workspace_is_refused(production: Production, tmp_path: Path) -> None:
    workspace = tmp_path / "film"
    clip = Path(shutil.copy(production.source, tmp_path / "source.mp4"))
    for home in ("source", "run"):
        (workspace / home).mkdir(parents=True)
        inside = Path(shutil.copy(clip, workspace / home / "source.mp4"))
        with pytest.raises(
            OutputError, match=r"source\.mp4: is inside the folder that the swap writes .*another --workspace"
        ):
            production.swap(tmp_path / "out.mp4", source=inside, workspace=workspace)
        assert [path.name for path in (workspace / home).iterdir()] == ["source.mp4"]
        inside.unlink()


def test_every_identity_of_a_run_needs_its_own_record(production: Production, tmp_path: Path) -> None:
    run = tmp_path / "run"
    faces = {name: production.folder / name for name in ("source", "target", "both")}
    three = SMALL.model_copy(update={"batch": 6, "iterations": 12})
    train(faces["target"], faces["target"], run, others={"anna": faces["source"]}, options=three)
    call = {"run": run, "frames": "0-3", "source_consent": production.record("source_hash")}
    assert production.merge(tmp_path / "anna.mp4", **call, subject="anna").frames == 4
    with pytest.raises(ConsentError):  # who is not the person of the record
        production.merge(tmp_path / "other.mp4", **call)
    with pytest.raises(RunError, match=r"no identity 'bert' .*source, target, anna"):
        production.merge(tmp_path / "bert.mp4", **call, subject="bert")
    with pytest.raises(ConfigError, match="--morph needs a run of the model amp, not quick"):
        production.merge(tmp_path / "morph.mp4", **call, subject="anna", morph=0.5)


def test_amp_morphs_from_the_performer_to_the_source(production: Production, tmp_path: Path) -> None:
    settings = {"size": 64, "latent": 8, "inter": 8, "encoder": 4, "decoder": 4, "mask": 4}
    run = tmp_path / "run"
    options = SMALL.model_copy(update={"model": "amp", "settings": settings, "iterations": 20, "learning_rate": 1e-3})
    train(production.folder / "source", production.folder / "target", run, options=options)
    frames: dict[float, np.ndarray] = {}
    for morph in (0.0, 0.5, 1.0):
        output = tmp_path / f"{morph}.mp4"
        production.merge(output, run=run, frames="0-3", morph=morph, color="none")
        frames[morph] = np.stack(first_frames(output, 4))
    assert np.abs(frames[0.0] - frames[1.0]).max() > 0.02
    assert not np.array_equal(frames[0.5], frames[1.0])
    with pytest.raises(ValidationError):
        MergeOptions(morph=1.5)


def test_extract_changes_only_its_own_files(production: Production, tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    shutil.copy(production.source, clips / "source.mp4")
    with pytest.raises(FacesetError, match=r"clips: holds the footage source\.mp4"):
        extract(clips, clips)
    assert [path.name for path in clips.iterdir()] == ["source.mp4"]
    faces = tmp_path / "faces"
    faces.mkdir()
    picture = Path(shutil.copy(production.folder / "source.png", faces / "people.png"))
    before = picture.read_bytes()
    with pytest.raises(OutputError, match=r"people\.png: would be overwritten"):
        extract(production.both, faces)
    extract(production.both, faces, reference=picture)
    assert picture.read_bytes() == before
    with pytest.raises(FacesetError, match="another extraction is writing"), lock(faces / LOCK, wait=False):
        extract(production.both, faces, reference=picture)


def test_crops_of_others_in_the_targets_faceset_are_refused_by_a_swap(production: Production, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        production.swap(tmp_path / "out.mp4", on_event=interrupted_in_training)
    crop = next((production.folder / "source").glob("*.jpg"))
    shutil.copy(crop, tmp_path / "out.mp4.workspace" / "target")
    with pytest.raises(FacesetError, match="contains crops of footage other than"):
        production.swap(tmp_path / "out.mp4")


def interrupted_in_training(event: Event) -> None:
    if isinstance(event, Progress) and event.step == "train":
        raise KeyboardInterrupt


def test_a_record_changed_during_a_merge_is_stated_as_read(production: Production, tmp_path: Path) -> None:
    paths = [Path(shutil.copy(production.record(f"{name}_hash"), tmp_path)) for name in ("source", "target")]
    before = tuple(read_consent(path)[1] for path in paths)
    records = Records.load(*paths)
    for path in paths:
        path.write_text(path.read_text() + "# another scope\n")
    assert records.hashes == before != tuple(read_consent(path)[1] for path in paths)


@pytest.fixture
def suspicious(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A classifier that considers every frame intimate imagery."""
    verdict = onnx.helper.make_tensor("verdict", onnx.TensorProto.FLOAT, [1, 5], [0.0, 0.0, 0.0, 1.0, 0.0])
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Constant", [], ["probs"], value=verdict)],
        "suspicious",
        [onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 224, 224, 3])],
        [onnx.helper.make_tensor_value_info("probs", onnx.TensorProto.FLOAT, [1, 5])],
    )
    opset = [onnx.helper.make_opsetid("", 13)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "suspicious.onnx")
    (tmp_path / "config.toml").write_text(f"[weights]\nsafeguard = '{tmp_path / 'suspicious.onnx'}'\n")
    monkeypatch.setenv("VISAGIST_CONFIG_DIR", str(tmp_path))
    weights.cached_session.cache_clear()
    yield
    weights.cached_session.cache_clear()


def test_the_safeguard_cannot_be_bypassed(production: Production, tmp_path: Path, suspicious: None) -> None:
    output = tmp_path / "out" / "out.mp4"
    with pytest.raises(SafeguardError, match=r"target\.mp4"):
        production.merge(output, workspace=tmp_path / "merge")
    with pytest.raises(SafeguardError):
        production.preview(tmp_path / "out" / "preview.png")
    with pytest.raises(SafeguardError):
        production.swap(output, workspace=tmp_path / "swap")
    assert not (tmp_path / "swap" / "run").exists()  # refused before the training
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_damaged_footage_must_be_allowed(production: Production, tmp_path: Path) -> None:
    data = bytearray(TARGET.read_bytes())
    data[150_000:150_400] = bytes(400)
    hole = tmp_path / "hole.mpg"
    hole.write_bytes(data)
    new_record(record := tmp_path / "hole.toml", footage=[hole])
    call = {"target": hole, "target_consent": record, "workspace": tmp_path / "workspace"}
    output = tmp_path / "out.mp4"
    with pytest.raises(DamagedError, match=r"hole\.mpg: damaged .*--allow-damaged"):
        production.merge(output, **call)
    assert not output.exists()
    with Reader(hole) as frames:
        good = len(list(frames))
    assert production.merge(output, **call, allow_damaged=True).frames == good
    swap = {"target": hole, "target_consent": record}
    with pytest.raises(DamagedError, match="--allow-damaged"):
        production.swap(tmp_path / "swapped.mp4", **swap)
    made = production.swap(tmp_path / "swapped.mp4", **swap, merging=MergeOptions(allow_damaged=True))
    assert made.frames == good


def test_interlaced_footage_is_merged_on_request(production: Production, tmp_path: Path) -> None:
    fields = tmp_path / "fields.mkv"
    with av.open(str(fields), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"x264-params": "tff=1", "crf": "12"})
        stream.codec_context.flags |= av.codec.context.Flags.interlaced_dct
        stream.height, stream.width, stream.pix_fmt = 288, 360, "yuv420p"
        for frame in first_frames(production.target, 10):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.rint(frame * 255).astype(np.uint8), format="rgb24")))
        out.mux(stream.encode(None))
    new_record(record := tmp_path / "fields.toml", footage=[fields])
    call = {"target": fields, "target_consent": record, "workspace": tmp_path / "workspace"}
    with pytest.raises(InterlacedError, match=r"fields\.mkv.*--deinterlace"):
        production.merge(tmp_path / "out.mp4", **call)
    assert production.merge(tmp_path / "out.mp4", **call, deinterlace=True).frames == 10


def test_pictures_of_two_renders_are_never_mixed(production: Production, tmp_path: Path) -> None:
    frames = tmp_path / "frames"
    assert production.merge(frames, frames="0-5").frames == 6
    first = (frames / "000001.png").read_bytes()
    (frames / "notes.txt").write_text("no picture")
    assert production.merge(frames, frames="1-2", color="none").frames == 2  # all pictures belonged to the render
    assert pictures(frames) == ["000001.png", "000002.png"]
    assert (frames / "000001.png").read_bytes() != first
    (frames / "000001.png").unlink()
    production.merge(frames, frames="1-2", color="none")  # a missing picture is written again
    assert pictures(frames) == ["000001.png", "000002.png"]

    shutil.copy(frames / "000001.png", frames / "000007.png")
    with pytest.raises(OutputError, match=r"000007\.png"):
        production.merge(frames, frames="1-3")
    (frames / "000007.png").unlink()
    with (frames / "000002.png").open("ab") as file:
        file.write(b"retouched by hand")
    with pytest.raises(OutputError, match=r"000002\.png.*choose another --output"):
        production.merge(frames, frames="1-3")
    assert pictures(frames) == ["000001.png", "000002.png"]


def test_a_merge_killed_while_writing_pictures_can_be_repeated(production: Production, tmp_path: Path) -> None:
    frames = tmp_path / "frames"
    arguments = ("merge", production.target, "--run", production.run, "-o", frames, "--source-consent",
                 production.record("source_hash"), "--target-consent", production.record("target_hash"),
                 "--workspace", production.folder / "workspace", "--device", "cpu")  # fmt: skip
    process = subprocess.Popen(command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and len(pictures(frames)) < 3:
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    begun = pictures(frames)
    assert 3 <= len(begun) < FRAMES
    assert not frames.with_name("frames.json").exists()
    production.merge(frames, frames="4-5")
    assert pictures(frames) == ["000004.png", "000005.png"]


def test_a_finished_merge_includes_its_mattes(production: Production, tmp_path: Path) -> None:
    output, matte = tmp_path / "out.mp4", tmp_path / "matte"
    asked = {"frames": "0-3", "matte": matte}
    production.merge(output, **asked)
    made = {name: (matte / name).read_bytes() for name in pictures(matte)}
    assert sorted(made) == [f"{number:08d}.png" for number in range(4)]
    for lose in (lambda: shutil.rmtree(matte), lambda: (matte / "00000002.png").unlink()):
        lose()
        production.merge(output, **asked)
        assert {name: (matte / name).read_bytes() for name in pictures(matte)} == made
    stamp = output.stat().st_mtime_ns
    production.merge(output, **asked)
    assert output.stat().st_mtime_ns == stamp  # done is done
    production.merge(output, **{**asked, "frames": "2-4"})
    assert pictures(matte) == [f"{number:08d}.png" for number in range(2, 5)]
    with pytest.raises(OutputError, match="choose another --matte"):
        production.merge(tmp_path / "another.mp4", **asked)


def test_a_wrong_identity_number_is_not_a_missing_performer(production: Production, tmp_path: Path) -> None:
    for allow_no_face in (False, True):
        with pytest.raises(SubjectError, match=rf"no identity 7.*0 \({FRAMES} frames\)") as caught:
            production.merge(tmp_path / "out.mp4", target_identity=7, allow_no_face=allow_no_face)
        assert not isinstance(caught.value, NoFaceError)
        assert "--allow-no-face" not in str(caught.value)
    assert not (tmp_path / "out.mp4").exists()


def test_other_face_models_repeat_the_analysis(
    production: Production, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    footage, options = probe(production.target), AnalyzeOptions()
    table = production.folder / "workspace" / "tables" / "target.mp4.parquet"
    done = production.folder / "made.mp4"
    config, safeguard = tmp_path / "config", tmp_path / "safeguard"
    config.mkdir()
    monkeypatch.setenv("VISAGIST_CONFIG_DIR", str(config))

    def use(name: str, change: str) -> None:
        model = onnx.load(weights.FOLDER / weights.MODELS[name].file)
        model.doc_string += change
        own = config / f"{name}{change}.onnx"
        if change:
            onnx.save(model, own)
        else:
            shutil.copy(weights.FOLDER / weights.MODELS[name].file, own)
        (config / "config.toml").write_text(f"[weights]\n{name} = '{own}'\n")
        weights.cached_session.cache_clear()

    for name in ("yunet", "facemesh", "blendshapes", "sface"):
        use(name, "")  # the same bytes at another place
        assert known_table(footage, table, options) is not None, name
        use(name, "other")
        assert known_table(footage, table, options) is None, name
    with pytest.raises(FacesetError, match="face models"):
        keep_all = {"min_change": 0.0, "min_sharpness": 0.0, "min_score": 0.0}
        options = ExtractOptions(**keep_all)
        extract_faceset(production.target, production.folder / "target", options, silent, tmp_path / "tables")
    stamp = done.stat().st_mtime_ns
    own = shutil.copytree(production.folder / "workspace", tmp_path / "workspace")
    shutil.copytree(production.run, tmp_path / "run")
    production.merge(done, workspace=Path(own))
    assert done.stat().st_mtime_ns != stamp  # the render is of other faces

    check_footage(footage, "0" * 64, safeguard)
    for change, count in (("", 1), ("other", 2), ("other", 2), ("third", 3)):
        use("safeguard", change)
        check_footage(footage, "0" * 64, safeguard)
        assert len(list(safeguard.iterdir())) == count
    weights.cached_session.cache_clear()
