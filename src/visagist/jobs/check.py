"""Verification of kept files: what is whole, what the next call makes again, and what is lost."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from visagist.core.errors import OutputError, ReadError, RunError, VisagistError
from visagist.core.events import EventCallback, Progress, silent
from visagist.core.files import is_temporary
from visagist.core.read import read_table, read_toml
from visagist.core.tensors import load_hashed
from visagist.core.text import printable
from visagist.core.types import StrPath
from visagist.faces import FaceTable
from visagist.faces.subject import SHEET_NAME
from visagist.faceset.extraction import STATE as EXTRACTION
from visagist.faceset.extraction import Extraction
from visagist.faceset.record import SUFFIXES as CROPS
from visagist.faceset.record import read_crop
from visagist.faceset.store import INDEX
from visagist.jobs.chunks import note_of
from visagist.models.bundle import WEIGHTS, check_weights, read_record
from visagist.provenance import EMBEDS, SIDECARS, verify
from visagist.training.checkpoint import STATE, load_checkpoint, read_state
from visagist.training.run import CHECKPOINTS, EVENTS, PREVIEWS, RECORD, RunRecord

STEP = "check"
State = Literal["whole", "made again", "lost"]


@dataclass(frozen=True)
class CheckedFile:
    """A file that is not whole."""

    path: Path
    state: State
    reason: str

    def as_text(self) -> str:
        """One line."""
        return f"{self.state}: {self.reason}"


@dataclass(frozen=True)
class Checked:
    """Result of a check.

    Attributes:
        path: the folder.
        whole: number of files that are whole.
        damaged: all others.
    """

    path: Path
    whole: int
    damaged: tuple[CheckedFile, ...]

    @property
    def ok(self) -> bool:
        """Nothing is lost."""
        return all(each.state != "lost" for each in self.damaged)

    def as_text(self) -> str:
        """A line for each damaged file, and a summary."""
        counts = Counter(each.state for each in self.damaged)
        lines = [each.as_text() for each in self.damaged]
        again, lost = counts["made again"], counts["lost"]
        return "\n".join([*lines, f"{printable(self.path)}: {self.whole} whole, {again} made again, {lost} lost"])

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        damaged = [{**asdict(each), "path": str(each.path)} for each in self.damaged]
        return {"ok": self.ok, "path": str(self.path), "whole": self.whole, "damaged": damaged}


def check(folder: StrPath, *, on_event: EventCallback | None = None) -> Checked:
    """Check every file that visagist keeps in a workspace, a run or a faceset, against its hash and format.

    Nothing is changed. A file counts as *made again* if repeating the call that wrote it replaces it, and as *lost* if
    only that file held its content, such as a crop, the options of a run, or its only checkpoint.

    Args:
        folder: the workspace, run or faceset; folders inside it are included.
        on_event: callback receiving progress.

    Raises:
        OutputError: there is no such folder.
    """
    folder, events = Path(folder), on_event or silent
    if not folder.is_dir():
        raise OutputError(f"{folder}: no such folder; give a workspace, a run or a faceset")
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    whole, damaged = 0, list[CheckedFile]()
    for done, path in enumerate(files, 1):
        state, test = _test_of(path)
        try:
            test(path)
            whole += 1
        except (VisagistError, OSError) as error:
            damaged.append(CheckedFile(path, _state(path, state), printable(error)))
        if done % 20 == 0 or done == len(files):
            events(Progress(STEP, done, len(files), "files"))
    damaged.extend(_missing(folder))
    return Checked(folder, whole, tuple(damaged))


def _test_of(path: Path) -> tuple[State, Callable[[Path], object]]:
    """How to test a file, and what becomes of it if it is damaged."""
    home, suffix = path.parent, path.suffix.lower()
    if any(map(is_temporary, (path, *path.parents))):
        return "made again", _unfinished
    if path.name == RECORD:
        return "lost", lambda path: RunRecord.read(path.parent)
    if path.name == WEIGHTS:
        return "made again", _weights
    if home.name == CHECKPOINTS and path.name == STATE:
        return "made again", lambda path: read_state(path.parent)
    if home.name == CHECKPOINTS and suffix == ".safetensors":
        return "lost", lambda path: load_checkpoint(path.parent, int(path.stem))
    if path.name == EXTRACTION:
        return "made again", lambda path: Extraction.load(path.parent)
    if path.name == INDEX:
        return "made again", read_table
    if suffix == ".parquet":
        return "made again", FaceTable.load if not home.name.endswith(".parts") else read_table
    if suffix == ".nut" or (suffix == ".json" and path.name.startswith("chunk-")):
        return "made again", _chunk
    if suffix in CROPS and path.name != SHEET_NAME and home.name != PREVIEWS and (home / EXTRACTION).exists():
        return "lost", read_crop
    if suffix == ".toml":
        return "made again", read_toml
    if suffix in {**EMBEDS, **SIDECARS} and path.name != SHEET_NAME:
        return "lost", _signed
    return "whole", lambda path: None


def _state(path: Path, state: State) -> State:
    """Weights are made again from their run's checkpoint, if there is one."""
    if path.name == WEIGHTS:
        try:
            latest = read_state(path.parent / CHECKPOINTS)
            if latest is None:
                return "lost"
            load_checkpoint(path.parent / CHECKPOINTS, latest.latest)
        except RunError:
            return "lost"
    return state


def _missing(folder: Path) -> Iterator[CheckedFile]:
    """Files that others refer to."""
    for record in folder.rglob(RECORD):
        checkpoints = record.parent / CHECKPOINTS
        try:
            state = read_state(checkpoints)
        except RunError:
            continue  # reported as damaged
        if state is None:
            continue
        path = checkpoints / f"{state.latest:08}.safetensors"
        if not path.exists():
            reason = (
                f"{path}: the latest checkpoint of this run is missing; `visagist rewind` goes back to an earlier one"
            )
            yield CheckedFile(path, "lost", reason)
        if not (record.parent / WEIGHTS).exists() and state.latest:
            reason = f"{record.parent / WEIGHTS}: missing; `visagist train` writes it from the checkpoint"
            yield CheckedFile(record.parent / WEIGHTS, "made again", reason)
        if not (record.parent / EVENTS).exists() and state.latest:
            yield CheckedFile(record.parent / EVENTS, "lost", f"{record.parent / EVENTS}: the run's history is missing")


def _unfinished(path: Path) -> None:
    raise OutputError(f"{path}: unfinished; the next call deletes it, unless a process is still writing it")


def _weights(path: Path) -> None:
    tensors, _, _ = load_hashed(path)
    check_weights(tensors, read_record(path), path)


def _chunk(path: Path) -> None:
    if note_of(path.with_suffix(".nut")) is None:
        raise ReadError(f"{path}: this chunk of a render is not the one that its note states")


def _signed(path: Path) -> None:
    found = verify(path)
    if found.verdict == "tampered":
        raise OutputError(f"{path}: changed after it was signed ({'; '.join(found.problems)})")
