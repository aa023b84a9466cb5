"""The performer in a target: face tables, and the choice of the identity to change."""

from collections.abc import Callable
from pathlib import Path

from visagist.core.errors import DamagedError, NoFaceError, SeveralError, SubjectError
from visagist.core.events import EventCallback, Note, Warned
from visagist.faces import AnalyzeOptions, Face, FaceTable, analyze, choose_identity, known_table
from visagist.jobs.workspace import TABLES
from visagist.jobs.workspace_locks import wait_for
from visagist.media import Footage
from visagist.merging import MergeOptions

STEP = "merge"


def find_faces(footage: Footage, workspace: Path, options: MergeOptions, events: EventCallback) -> FaceTable:
    """The target's face table, read from the workspace or created there.

    Raises:
        DamagedError: frames are lost and `allow_damaged` is off.
    """
    path = _table(footage, workspace)
    waiting = Note(STEP, f"waiting for another merge with this workspace, which is analyzing {footage.path.name}")
    with wait_for(path.with_suffix(".lock"), lambda: events(waiting)):
        table = analyze(footage, path, options=_search(options), on_event=events)
    _check_whole(footage, table, options)
    return table


def known_faces(footage: Footage, workspace: Path, options: MergeOptions) -> FaceTable | None:
    """The table that `find_faces` would return if it is in the workspace, or None; the footage is not read.

    Raises:
        DamagedError: frames are lost and `allow_damaged` is off.
    """
    table = known_table(footage, _table(footage, workspace), _search(options))
    if table is not None:
        _check_whole(footage, table, options)
    return table


def choose_performer(
    target: Path, table: FaceTable, options: MergeOptions, workspace: Path, events: EventCallback
) -> int | None:
    """The identity to change; None if no frame shows the performer and `allow_no_face` is on.

    Raises:
        NoFaceError: no frame shows the performer.
        SeveralError: the target shows several people and none was chosen; see `people.png` in the workspace.
        SubjectError: the target shows people, but not the one chosen by number.
    """
    people = table.identities()
    if options.target_identity is not None and people and options.target_identity not in people:
        available = ", ".join(f"{number} ({len(faces)} frames)" for number, faces in people.items())
        raise SubjectError(f"{target}: has no identity {options.target_identity} (available: {available})")
    try:
        return choose_identity(table, options.target_reference, options.target_identity, workspace)
    except SeveralError as error:
        raise SeveralError(f"{target}: {error}: --target-identity NUMBER or --target-reference PICTURE") from error
    except NoFaceError as error:
        if not options.allow_no_face:
            raise NoFaceError(f"{target}: {error}; --allow-no-face copies the target unchanged") from error
        events(Warned(STEP, "no frame shows the performer; all frames stay unchanged (--allow-no-face)"))
        return None


def performer_of(table: FaceTable, performer: int | None, options: MergeOptions) -> Callable[[int], Face | str]:
    """A function from a frame index to the performer's face, or to the reason why there is none."""

    def face_of(index: int) -> Face | str:
        faces = table.faces_of(index)
        if not faces:
            return "no face"
        own = [face for face in faces if face.identity == performer]
        if not own:
            return "other people only"
        best = max(own, key=lambda face: face.score)
        return best if best.score >= options.min_score else "landmarks uncertain (turned away or covered)"

    return face_of


def _search(options: MergeOptions) -> AnalyzeOptions:
    return AnalyzeOptions(deinterlace=options.deinterlace)


def _table(footage: Footage, workspace: Path) -> Path:
    return workspace / TABLES / f"{footage.path.name}.parquet"


def _check_whole(footage: Footage, table: FaceTable, options: MergeOptions) -> None:
    if table.lost and not options.allow_damaged:
        raise DamagedError(
            f"{footage.path}: damaged ({table.lost} frames cannot be decoded); --allow-damaged continues without them"
        )
