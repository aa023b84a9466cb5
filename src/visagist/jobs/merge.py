"""The public merge: consent, safeguard, chunks, and a signed render.

No function returns or names an unsigned render: unsigned chunks stay in the workspace, and the joined file gets its
final name only together with its credentials.
"""

import functools
import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from visagist import __version__
from visagist.core.errors import ConfigError, FootageError, OutputError, RunError
from visagist.core.events import EventCallback, Note, Result, silent
from visagist.core.files import sync, write_atomic
from visagist.core.options import combine
from visagist.core.settings import save_call
from visagist.core.types import StrPath
from visagist.faces import Face
from visagist.faces.analyze import face_models
from visagist.faces.subject import check_reference
from visagist.jobs.chunks import ChunkRenderer, Chunks
from visagist.jobs.consent_checks import Records, check_footage, covered_by_hash
from visagist.jobs.likeness import (
    FIRST_FRAMES,
    LikenessCheck,
    likeness_check,
    performer_embedding,
    predicted,
    rendered,
    sample_faces,
)
from visagist.jobs.output_paths import (
    Report,
    check_output,
    clear_earlier_render,
    input_files,
    is_folder,
    is_intact,
    read_report,
    report_path,
    stamps,
    unfinished_folder,
)
from visagist.jobs.performer import STEP, choose_performer, find_faces, performer_of
from visagist.jobs.workspace import CHUNKS, SAFEGUARD, TABLES, create_folder, default_workspace
from visagist.jobs.workspace_locks import clear, clear_abandoned, clear_joined, locked_folder
from visagist.media import EncodeOptions, Footage, join, note_reading, probe, probe_shot, read_frames
from visagist.merging.options import MergeOptions, frame_range
from visagist.merging.pipeline import Untouched
from visagist.models.bundle import TrainedNetwork
from visagist.provenance import Claim, Signer, Stamp, sidecar
from visagist.zoo.sessions import replaced_models


@dataclass(frozen=True)
class Render:
    """A signed render."""

    path: Path  # the file, or the folder of an image sequence
    frames: int  # number of frames
    untouched: tuple[Untouched, ...]  # frames that were passed through unchanged
    notes: tuple[str, ...]  # other changes, such as the pixel format or the audio codec
    fingerprint: str  # SHA-256 of the signer's certificate

    def __fspath__(self) -> str:
        return str(self.path)

    def as_text(self) -> str:
        """A short summary; the last line is the path."""
        lines = [f"{self.frames - len(self.untouched)} of {self.frames} frames changed, signed by {self.fingerprint}"]
        for reason, count in Counter(entry.reason for entry in self.untouched).most_common():
            lines.append(f"  untouched: {count} ({reason})")
        return "\n".join([*lines, *(f"  {note}" for note in self.notes), str(self.path)])

    def as_json(self) -> dict[str, Any]:
        """The render as plain values."""
        values = asdict(self)
        return {"output": str(values.pop("path")), **values}


def merge(
    target: StrPath,
    output: StrPath,
    *,
    run: StrPath | None,
    source_consent: StrPath,
    target_consent: StrPath,
    workspace: StrPath | None = None,
    frames: str | None = None,
    device: str = "auto",
    options: MergeOptions | None = None,
    encoding: EncodeOptions | None = None,
    on_event: EventCallback | None = None,
) -> Render:
    """Put the face of a trained run into a target and sign the render as synthetic.

    If interrupted, the same call continues with the first missing chunk; repeated, it returns at once. Merges of
    different outputs may share a workspace, even at the same time.

    Args:
        target: footage of the performer, whether used in training or not.
        output: `.mp4`, `.mov`, `.mkv`, or a folder for an image sequence (OpenEXR if the target is, else PNG).
        run: a training run, its folder or its weights file; may be None with `allow_no_face`, for a target without
            faces.
        source_consent: consent record of the subject whose face appears.
        target_consent: consent record of the performer.
        workspace: folder for face tables and unfinished chunks; default `OUTPUT.workspace` beside the output.
        frames: range of frames `A-B`, both included; default all.
        device: `auto`, `cpu`, `mps`, `cuda` or `cuda:N`.
        options: mask, colour, choice of the performer and everything else.
        encoding: codec, quality and speed.
        on_event: callback receiving progress, notes and warnings.

    Raises:
        ConsentError: a record is missing, or of another person.
        SafeguardError: the target seems to show intimate imagery.
        FootageError: the target cannot be read, or is damaged and `allow_damaged` is off.
        NoFaceError: no frame shows the performer, and `allow_no_face` is off.
        SeveralError: the target shows several people and none was chosen.
        RunError: the run cannot be used.
        OutputError: the output cannot be written, would overwrite its inputs or mix with other pictures, or is being
            written by another merge.
        ConfigError: an option is given twice or not allowed.
    """
    # Refuse whatever can be refused before any long work.
    target, output = Path(target), Path(output)
    workspace = default_workspace(output) if workspace is None else Path(workspace)
    options = combine(options, MergeOptions, frames=frames)
    records = Records.load(source_consent, target_consent, options.use)
    footage = probe_shot(target, rate=options.rate)
    check_frames(options.frames, footage, output)
    encoding = (encoding or EncodeOptions()).resolved(footage, output)
    given = [Path(path) for path in (run, options.target_reference) if path is not None]
    private = [workspace / name for name in (TABLES, SAFEGUARD, CHUNKS)]
    check_output(output, options.matte, workspace, [*input_files([footage], records), *given, *private])
    network = None if run is None else TrainedNetwork.open(run, device)
    if network is not None:
        records.check_trained(network, options.subject)
        check_morph(options.morph, network)
    if not output.exists():  # a finished render needs no picture
        check_reference(options.target_reference, options.target_identity)
    create_folder(workspace)
    create_folder(output.parent)
    call = {
        "target": target,
        "run": None if run is None else Path(run),
        "output": output,
        "source_consent": records.source_path,
        "target_consent": records.target_path,
        "workspace": workspace,
        "device": device,
        **options.model_dump(),
        **encoding.model_dump(),
    }
    job = _Job(output, footage, network, records, options, encoding, workspace, call)
    with locked_folder(job.place, output):
        return job.carry_out(on_event or silent)


def check_frames(frames: str | None, footage: Footage, output: Path) -> None:
    """Check a range of frames, as far as possible without reading the footage.

    Raises:
        FootageError: the range exceeds the stated length of the footage.
        OutputError: the output is a single picture, but the range has several frames.
    """
    first, last = frame_range(frames)
    if output.suffix.lower() in (".png", ".exr") and footage.kind != "still" and footage.frames != 1 and first != last:
        raise OutputError(
            f"{output}: is a single picture, but {footage.path} has several frames; give a folder for an image sequence"
        )
    if last is not None and footage.frames is not None:
        _check_last(last, footage.frames, footage, frames)


def check_morph(morph: float | None, network: TrainedNetwork) -> None:
    """Raise `ConfigError` if `morph` is given for a network that cannot morph."""
    if morph is not None and not network.network.morphs:
        raise ConfigError(f"{network.path}: --morph needs a run of the model amp, not {network.record.architecture}")


def _check_last(last: int, count: int, footage: Footage, frames: str | None) -> None:
    if last >= count:
        raise FootageError(f"{footage.path}: has frames 0 to {count - 1}; --frames {frames} exceeds that")


@dataclass(frozen=True)
class _Job:
    """One merge, with everything that determines its result."""

    output: Path
    footage: Footage
    network: TrainedNetwork | None
    records: Records
    options: MergeOptions
    encoding: EncodeOptions
    workspace: Path
    call: dict[str, Any]  # saved beside the render

    @functools.cached_property
    def key(self) -> str:
        """Identifies the result; cached, so that all chunks go into one folder."""
        facts = {
            "visagist": __version__,
            "target": self.footage.stamps(),
            "weights": self.weights_sha256,
            "consents": self.records.hashes,
            "rate": str(self.footage.rate),
            "models": face_models(),
            "options": self.options.model_dump(mode="json", exclude={"allow_damaged", "allow_no_face", "rate"}),
            "encoding": self.encoding.model_dump(mode="json"),
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def weights_sha256(self) -> str | None:
        return None if self.network is None else self.network.weights_sha256

    @property
    def place(self) -> Path:
        """Folder for unfinished work on this output."""
        return unfinished_folder(self.workspace, self.output)

    @property
    def folder(self) -> Path:
        """Folder for the chunks of this render."""
        return self.place / self.key

    def carry_out(self, events: EventCallback) -> Render:
        finished = self.finished()
        if finished is not None:
            events(Note(STEP, f"{self.output} is already finished"))
            return finished
        signer = Signer.default()  # fails before any work if it cannot sign
        note_reading([self.footage], STEP, events)
        target, options = self.footage.path, self.options
        table = find_faces(self.footage, self.workspace, options, events)
        performer = choose_performer(target, table, options, self.workspace, events)
        if performer is not None:
            if self.network is None:
                raise RunError(f"{target}: shows a face, but no run was given")
            seen = performer_embedding(self.footage, table, performer, deinterlace=options.deinterlace)
            self.records.check_target(covered_by_hash(table, performer), seen)
        else:
            seen = None
        self.records.check_valid(options.use, table.footage_sha256)
        check_footage(self.footage, table.footage_sha256, self.workspace / SAFEGUARD)
        first, last = frame_range(options.frames)
        last = table.frames - 1 if last is None else last
        _check_last(last, table.frames, self.footage, options.frames)
        face_of = performer_of(table, performer, options)
        check: LikenessCheck = lambda shown, what: None  # noqa: E731 - without a network, no face is predicted
        if self.network is not None:
            check = likeness_check(self.records, self.network, options.subject, self.workspace, seen, events)
            faces = sample_faces(first, min(last, first + FIRST_FRAMES - 1), face_of)
            frames = read_frames(self.footage, faces, deinterlace=options.deinterlace, seek=not table.lost)
            check(predicted(frames, faces, self.network, options), str(self.network.path))
        renderer = ChunkRenderer(
            footage=self.footage,
            face_of=face_of,
            predictor=self.network,
            options=options,
            encoding=self.encoding,
            folder=self.folder,
            # If frames are lost, only sequential reading numbers frames as in the table.
            seek=not table.lost,
        )
        return self.seal(renderer.render(first, last, events), signer, face_of, check, events)

    def finished(self) -> Render | None:
        """The result of a finished merge, whose report (written last) matches the key and all files."""
        found = read_report(self.output)
        if found.key != self.key:
            return None
        if not is_intact(self.output if is_folder(self.output) else self.output.parent, found.files):
            return None
        if self.options.matte is not None and not is_intact(self.options.matte, found.matte):
            return None
        clear(self.place)  # of a process killed between writing the report and cleaning up
        return Render(self.output, found.frames, found.untouched, found.notes, found.fingerprint)

    def seal(
        self,
        chunks: Chunks,
        signer: Signer,
        face_of: Callable[[int], Face | str],
        check: LikenessCheck,
        events: EventCallback,
    ) -> Render:
        """Join, sign and rename; then write mattes, call and report, and delete the chunks."""
        matte = self.options.matte
        excerpt = (chunks.first, chunks.last) if self.options.frames is not None else None
        unsigned = self.folder / f"joined{self.output.suffix}"
        try:
            joined = join(chunks.files, unsigned, self.footage, self.encoding, frames=excerpt)
            if joined.frames != chunks.last - chunks.first + 1:
                raise OutputError(
                    f"{self.folder}: holds {joined.frames} frames, but {chunks.last - chunks.first + 1} were rendered; "
                    "delete it and run the merge again"
                )
            for note in joined.notes:
                events(Note(STEP, note))
            untouched = {entry.frame for entry in chunks.untouched}
            faces = sample_faces(chunks.first, chunks.last, lambda i: "untouched" if i in untouched else face_of(i))
            sampled = read_frames(probe(unsigned), [i - chunks.first for i in faces])
            check(rendered(sampled, list(faces.values())), str(self.output))
            files = [self.output if file == unsigned else self.output / file.name for file in joined.files]
            names = {self.output: [file.name for file in files]} if is_folder(self.output) else {}
            names |= {matte: [file.name for file in chunks.mattes]} if matte is not None else {}
            clear_earlier_render(self.output, matte, self.folder, names)
            is_changed = len(chunks.untouched) < joined.frames
            claim = Claim(
                self.weights_sha256,
                self.records.terms,
                is_changed=is_changed,
                use=self.options.use,
                replaced_models=replaced_models(),
            )
            with Stamp(claim, self.footage.path, signer) as stamp:
                for file, signed in zip(joined.files, files, strict=True):
                    stamp.sign(file, signed)
            sync(files[0].parent)
        finally:
            clear_joined(unsigned)  # never leave an unsigned render behind
        if matte is not None:
            for file in chunks.mattes:
                write_atomic(matte / file.name, file.read_bytes(), is_batch=True)
            sync(matte)
        left = tuple(chunks.untouched)
        render = Render(self.output, joined.frames, left, joined.notes, signer.fingerprint)
        save_call(self.output.with_name(self.output.name + ".toml"), self.call)
        report = Report(
            key=self.key,
            files=stamps([*files, *map(sidecar, files)]),
            matte=stamps(matte / file.name for file in chunks.mattes) if matte is not None else {},
            frames=render.frames,
            untouched=left,
            notes=render.notes,
            fingerprint=render.fingerprint,
        )
        write_atomic(report_path(self.output), report.model_dump_json(indent=1))
        clear(self.place)
        clear_abandoned(self.place.parent)
        events(Result(STEP, self.output))
        return render
