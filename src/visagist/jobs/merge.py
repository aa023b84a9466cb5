"""The merge that users call: consent, safeguard, chunks, one file, signed, renamed.

- `merge`: a run and a target to a signed render
- `MergeSummary`: what came of it
No function here returns or names a render that is not signed: unsigned chunks stay in the workspace, and the joined
file gets its name only with its credentials inside (or beside, for containers that cannot hold them).
"""

import functools
import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visagist import __version__
from visagist.core.errors import (
    DamagedError,
    FootageError,
    NoFaceError,
    OutputError,
    RunError,
    SeveralError,
    SubjectError,
)
from visagist.core.events import Events, Note, Result, Warned
from visagist.core.files import write_atomic
from visagist.core.settings import save_call
from visagist.faces import AnalyzeOptions, Face, FaceTable, analyze, choose_identity, known_table
from visagist.faces.analyze import face_models
from visagist.jobs.chunks import render_chunks
from visagist.jobs.consent_checks import Records, check_footage, covered_by_hash
from visagist.jobs.output_paths import (
    check_name,
    check_output,
    is_folder,
    is_intact,
    made_from,
    make_room,
    place_of,
    read_report,
    report_of,
    stamps,
)
from visagist.jobs.workspace_locks import clear, clear_abandoned, clear_joined, hold, wait_for
from visagist.media import EncodeOptions, Footage, join, note_rate, probe
from visagist.merging.options import MergeOptions, check_frames, check_morph, frame_range
from visagist.merging.pipeline import Untouched
from visagist.models.bundle import TrainedNetwork
from visagist.provenance import Claim, Signer, Stamp, sidecar

STEP = "merge"
OWN = ("tables", "safeguard", "merge")  # folders of a workspace that no render belongs in


@dataclass(frozen=True)
class MergeSummary:
    """What came of a merge.

    Attributes:
        output: the signed render.
        frames: how many it has.
        untouched: frames that went through as they were, each with its reason.
        notes: what a user should know, such as a changed pixel format or audio codec.
        fingerprint: of the signer's certificate.
    """

    output: Path
    frames: int
    untouched: tuple[Untouched, ...]
    notes: tuple[str, ...]
    fingerprint: str

    def as_text(self) -> str:
        """A few lines for people, the last one the render's path."""
        lines = [f"{self.frames - len(self.untouched)} of {self.frames} frames changed, signed by {self.fingerprint}"]
        for reason, count in Counter(entry.reason for entry in self.untouched).most_common():
            lines.append(f"  untouched: {count} ({reason})")
        return "\n".join([*lines, *(f"  {note}" for note in self.notes), str(self.output)])


def merge(
    target: Path,
    run: Path | None,
    output: Path,
    source_consent: Path | None,
    target_consent: Path | None,
    options: MergeOptions,
    encoding: EncodeOptions,
    workspace: Path | None,
    device: str,
    events: Events,
) -> MergeSummary:
    """Put the face of a trained run into a target and sign the render as synthetic.

    Killed at any moment and called again, it continues with the first chunk that is missing; called again after its
    end, it returns at once. Merges of different outputs may share a workspace, also at the same time.

    Args:
        target: footage of the performer, the one trained on or any other.
        run: a trained run; None is possible only with `allow_no_face`, for a target that shows no face.
        output: `.mp4`, `.mov`, `.mkv`, or a folder for a PNG sequence.
        source_consent: consent record of the person whose face appears.
        target_consent: consent record of the performer.
        options: how the face goes in, and who of several performers is meant.
        encoding: codec, quality, speed.
        workspace: folder for what is kept on the way; None: `OUTPUT.workspace` beside the output.
        device: as in `device.choose`.
        events: told progress and warnings.

    Raises:
        ConsentError: a record is missing, or of another person.
        SafeguardError: the target seems to show intimate imagery.
        FootageError: the target cannot be read, or is damaged and `allow_damaged` is off.
        NoFaceError: the performer is in no frame, and `allow_no_face` is off.
        SeveralError: several people are in the target and none was chosen.
        RunError: the run cannot be used.
        OutputError: the output cannot be written, would overwrite what it is made from or mix with other pictures, or
            another merge is writing it.
    """
    job = _Job.prepare(target, run, output, source_consent, target_consent, options, encoding, workspace, device)
    with hold(job.place, output):
        return _carry_out(job, events)


def _carry_out(job: "_Job", events: Events) -> MergeSummary:
    target, options = job.target, job.options
    finished = job.finished()
    if finished is not None:
        events(Note(STEP, f"{job.output} is done already"))
        return finished
    signer = Signer.default()  # one that cannot sign is found before the work
    note_rate([job.footage], STEP, events)
    table = find_faces(job.footage, job.workspace, options, events)
    performer = choose_performer(target, table, options, job.workspace, events)
    if performer is not None:
        if job.run is None:
            raise RunError(f"{target}: shows a face, and no trained run was given to change it")
        job.records.check_target(covered_by_hash(table, performer), table.identity_embedding(performer))
    check_footage(job.footage, table.footage_sha256, job.workspace / "safeguard")
    first, last = _bounds(options, table.frames, target)
    chunks, mattes, untouched = render_chunks(
        job.footage,
        first,
        last,
        performer_of(table, performer, options),
        job.run,
        job.folder,
        options,
        job.encoding,
        events,
        seek=not table.lost,  # where frames are lost, only counting gives each the number that the table knows it by
    )
    return job.seal(chunks, mattes, untouched, first, last, signer, events)


def find_faces(footage: Footage, workspace: Path, options: MergeOptions, events: Events) -> FaceTable:
    """The target's face table, from the workspace where it is there already.

    Raises:
        DamagedError: frames were lost and `allow_damaged` is off.
    """
    path = _table(footage, workspace)
    waiting = Note(STEP, f"waiting for another merge with this workspace, which is looking at {footage.path.name}")
    with wait_for(path.with_suffix(".lock"), lambda: events(waiting)):
        table = analyze(footage, path, _search(options), events)
    _check_whole(footage, table, options)
    return table


def known_faces(footage: Footage, workspace: Path, options: MergeOptions) -> FaceTable | None:
    """The target's face table as `find_faces` would give it, where the workspace has one; nothing is looked at.

    Raises:
        DamagedError: frames were lost and `allow_damaged` is off.
    """
    table = known_table(footage, _table(footage, workspace), _search(options))
    if table is not None:
        _check_whole(footage, table, options)
    return table


def _search(options: MergeOptions) -> AnalyzeOptions:
    return AnalyzeOptions(deinterlace=options.deinterlace)


def _table(footage: Footage, workspace: Path) -> Path:
    return workspace / "tables" / f"{footage.path.name}.parquet"


def _check_whole(footage: Footage, table: FaceTable, options: MergeOptions) -> None:
    if table.lost and not options.allow_damaged:
        raise DamagedError(
            f"{footage.path}: damaged ({table.lost} frames cannot be decoded); --allow-damaged goes on without them"
        )


def performer_of(table: FaceTable, performer: int | None, options: MergeOptions) -> Callable[[int], Face | str]:
    """A function from a frame's index to the performer's face, or to the reason why there is none."""

    def face_of(index: int) -> Face | str:
        faces = table.faces_of(index)
        if not faces:
            return "no face"
        mine = [face for face in faces if face.identity == performer]
        if not mine:
            return "other people only"
        best = max(mine, key=lambda face: face.score)
        return best if best.score >= options.min_score else "landmarks uncertain (turned away or covered)"

    return face_of


def choose_performer(
    target: Path, table: FaceTable, options: MergeOptions, workspace: Path, events: Events
) -> int | None:
    """The identity that is changed; None where there is nobody and `allow_no_face` is on.

    Raises:
        NoFaceError: the performer is in no frame.
        SeveralError: several people are there and none was chosen; `people.png` in the workspace shows them.
        SubjectError: there are people, and none of the number that was chosen.
    """
    people = table.identities()
    if options.performer is not None and people and options.performer not in people:
        there = ", ".join(f"{number} ({len(faces)} frames)" for number, faces in people.items())
        raise SubjectError(f"{target}: shows no person {options.performer}; --performer can be {there}")
    try:
        return choose_identity(table, options.performer_reference, options.performer, workspace)
    except SeveralError as error:
        raise SeveralError(f"{target}: {error}: --performer NUMBER or --performer-reference PICTURE") from error
    except NoFaceError as error:
        if not options.allow_no_face:
            raise NoFaceError(f"{target}: {error}; --allow-no-face passes the target through untouched") from error
        events(Warned(STEP, "the performer is in no frame; all pass through untouched, as --allow-no-face asks"))
        return None


def _bounds(options: MergeOptions, frames: int, target: Path) -> tuple[int, int]:
    first, last = frame_range(options.frames)
    last = frames - 1 if last is None else last
    if last >= frames:
        raise FootageError(f"{target}: has frames 0 to {frames - 1}; --frames {options.frames} goes beyond")
    return first, last


@dataclass(frozen=True)
class _Job:
    """One merge, with all that decides what comes out of it."""

    target: Path
    output: Path
    footage: Footage
    run: TrainedNetwork | None
    records: Records
    options: MergeOptions
    encoding: EncodeOptions
    workspace: Path
    call: dict[str, Any]

    @classmethod
    def prepare(
        cls,
        target: Path,
        run: Path | None,
        output: Path,
        source_consent: Path | None,
        target_consent: Path | None,
        options: MergeOptions,
        encoding: EncodeOptions,
        workspace: Path | None,
        device: str,
    ) -> "_Job":
        """Everything that can be found wrong at once is found here, before any long work."""
        records = Records.load(source_consent, target_consent)
        footage = probe(target, options.rate)
        check_frames(options.frames, footage, output)
        encoding = encoding.resolved(footage, output)
        workspace = workspace or default_workspace(output)
        given = [path for path in (run, options.performer_reference) if path is not None]
        inputs = [*made_from([footage], records), *given, *(workspace / name for name in OWN)]
        check_output(output, options.matte, workspace, inputs)
        trained = None if run is None else TrainedNetwork.open(run, device)
        if trained is not None:
            records.check_trained(trained, options.person)
            check_morph(options.morph, trained)
        claim_folder(workspace)
        claim_folder(output.parent)
        call = {
            "target": target,
            "run": run,
            "output": output,
            "source_consent": source_consent,
            "target_consent": target_consent,
            "workspace": workspace,
            "device": device,
            **options.model_dump(),
            **encoding.model_dump(),
        }
        return cls(target, output, footage, trained, records, options, encoding, workspace, call)

    @functools.cached_property
    def key(self) -> str:
        """Names the result: the same key, the same frames. Worked out once, so that chunks stay in one folder."""
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
        return None if self.run is None else self.run.weights_sha256

    @property
    def place(self) -> Path:
        """What is kept on the way to this output."""
        return place_of(self.workspace, self.output)

    @property
    def folder(self) -> Path:
        """The chunks."""
        return self.place / self.key

    def finished(self) -> MergeSummary | None:
        """The summary of a merge that is done: the report is written last, and knows the key and all files."""
        found = read_report(self.output)
        if found.get("key") != self.key:
            return None
        if not is_intact(self.output if is_folder(self.output) else self.output.parent, found.get("files", {})):
            return None
        if self.options.matte is not None and not is_intact(self.options.matte, found.get("matte", {})):
            return None
        clear(self.place)  # left where the end came between report and tidying up
        untouched = tuple(Untouched(entry["frame"], entry["reason"]) for entry in found["untouched"])
        return MergeSummary(self.output, found["frames"], untouched, tuple(found["notes"]), found["fingerprint"])

    def seal(
        self,
        chunks: list[Path],
        mattes: list[Path],
        untouched: list[Untouched],
        first: int,
        last: int,
        signer: Signer,
        events: Events,
    ) -> MergeSummary:
        """Join, sign, rename; then mattes, configuration and report, and away with the chunks."""
        matte = self.options.matte
        is_excerpt = self.options.frames is not None
        unsigned = self.folder / f"joined{self.output.suffix}"
        try:
            joined = join(chunks, unsigned, self.footage, self.encoding, frames=(first, last) if is_excerpt else None)
            for note in joined.notes:
                events(Note(STEP, note))
            files = [self.output if file == unsigned else self.output / file.name for file in joined.files]
            names = {self.output: [file.name for file in files]} if is_folder(self.output) else {}
            names |= {matte: [file.name for file in mattes]} if matte is not None else {}
            make_room(self.output, matte, self.folder, names)
            claim = Claim(self.weights_sha256, self.records.hashes, is_changed=len(untouched) < joined.frames)
            with Stamp(claim, self.target, signer) as stamp:
                for file, signed in zip(joined.files, files, strict=True):
                    stamp.sign(file, signed)
        finally:
            clear_joined(unsigned)  # a whole render without its signature is not left lying about
        if matte is not None:
            for file in mattes:
                write_atomic(matte / file.name, file.read_bytes())
        summary = MergeSummary(self.output, joined.frames, tuple(untouched), joined.notes, signer.fingerprint)
        save_call(self.output.with_name(self.output.name + ".toml"), self.call)
        report = {
            "key": self.key,
            "files": stamps([*files, sidecar(self.output)]),
            "matte": stamps(matte / file.name for file in mattes) if matte is not None else {},
            "frames": summary.frames,
            "untouched": [{"frame": entry.frame, "reason": entry.reason} for entry in untouched],
            "notes": list(summary.notes),
            "fingerprint": summary.fingerprint,
        }
        write_atomic(report_of(self.output), json.dumps(report, indent=1))
        clear(self.place)
        clear_abandoned(self.place.parent)
        events(Result(STEP, self.output))
        return summary


def default_workspace(output: Path) -> Path:
    """The folder beside the output that keeps what is needed on the way.

    Raises:
        OutputError: the output has no name.
    """
    check_name(output)
    return output.with_name(output.name + ".workspace")


def claim_folder(folder: Path) -> None:
    """Make a folder, or say at once that it cannot be made.

    Raises:
        OutputError: it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made ({error.strerror}); choose another place") from error
