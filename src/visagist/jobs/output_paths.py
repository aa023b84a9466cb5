"""Output paths of a render: it must not overwrite its inputs, or mix with other pictures.

Only files of an earlier render are ever replaced: those listed in its report with the same name, size and modification
time, and those that a killed merge had begun to write according to a note in the workspace.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pydantic import Field, TypeAdapter, ValidationError

from visagist.core.errors import OutputError, ReadError
from visagist.core.files import sweep, write_atomic
from visagist.core.read import read_json
from visagist.core.settings import Settings
from visagist.jobs.consent_checks import Records
from visagist.jobs.workspace import CHUNKS, check_name
from visagist.media import Footage
from visagist.media.sequence import IMAGE_SUFFIXES
from visagist.merging.pipeline import Untouched
from visagist.provenance import sidecar

NOTE = "writing.json"  # beside the chunks: names of files being written, by folder
Stamps = dict[str, tuple[int, int]]
_NOTE = TypeAdapter(dict[str, list[str]])


def check_output(output: Path, matte: Path | None, workspace: Path, inputs: Sequence[Path]) -> None:
    """Refuse an output that would overwrite its inputs or unrelated files, or mix with other pictures.

    Args:
        output: the render: a file, or a folder for an image sequence.
        matte: folder of the mattes, if requested.
        workspace: workspace of the merge.
        inputs: files and folders that must not be changed.

    Raises:
        OutputError: the output is refused.
    """
    check_name(output)
    if output.is_dir() and not is_folder(output):
        raise OutputError(f"{output}: is a folder, but the render is a file; choose another --output")
    folders = [(output, "--output")] if is_folder(output) else []
    folders += [(matte, "--matte")] if matte is not None else []
    beside = [output, report_path(output), output.with_name(output.name + ".toml"), sidecar(output)]
    written = [(path, "--output") for path in beside] + folders
    known = [(path, option, _names(path), _names_above(path)) for path, option in written]
    for given in inputs:
        names = _names(given)
        for path, option, own, above in known:
            if own & names:
                how = "" if path in (output, matte) else f" by {path.name} beside it"
                place = output if option == "--output" else path
                raise OutputError(f"{place}: would overwrite {given}{how}, {_made_from_it(option)}")
            if above & names:
                raise OutputError(f"{path}: is inside {given}, {_made_from_it(option)}")
    homes = {given.parent: given for given in inputs}
    for folder, option in folders:
        if _names(folder) & _names(workspace):
            raise OutputError(f"{folder}: is the --workspace; choose another {option}")
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{folder}: is a file, but pictures need a folder; choose another {option}")
        for home, given in homes.items():
            if _names(folder) & _names(home):
                raise OutputError(f"{folder}: contains {given.name}, {_made_from_it(option)} with a folder of its own")
    mixed = [output, output.parent] if output.suffix.lower() in IMAGE_SUFFIXES else [output]
    if matte is not None and any(_names(matte) & _names(path) for path in mixed):
        raise OutputError(f"{matte}: would contain both render and mattes; choose another --matte")
    place = unfinished_folder(workspace, output)
    for folder, option in folders:
        _own_pictures(folder, option, output, place)
    _own_file(output, place)


def input_files(footage: Iterable[Footage], records: Records) -> list[Path]:
    """All files of the footage, the consent records, and their reference pictures."""
    files = [file for clip in footage for file in clip.files or (clip.path,)]
    for path, record in ((records.source_path, records.source), (records.target_path, records.target)):
        files += [path, *(path.parent / picture.path for picture in record.pictures)]
    return files


def clear_earlier_render(output: Path, matte: Path | None, chunks: Path, names: Mapping[Path, Sequence[str]]) -> None:
    """Note which files will be written, and delete the pictures of an earlier render.

    Args:
        output: as in `check_output`.
        matte: as in `check_output`.
        chunks: folder of this merge's chunks, for the note.
        names: names of the pictures that will be written, by folder.

    Raises:
        OutputError: unrelated files were added since `check_output`, or a file cannot be written or deleted.
    """
    options = {folder: "--matte" if folder == matte else "--output" for folder in names}
    old = {folder: _own_pictures(folder, option, output, chunks.parent) for folder, option in options.items()}
    _own_file(output, chunks.parent)
    note = {_key(folder): sorted({*names[folder], *(file.name for file in old[folder])}) for folder in names}
    if not is_folder(output):
        sweep(output.parent, output)
        sweep(output.parent, sidecar(output))
        note[_key(output.parent)] = [*note.get(_key(output.parent), []), output.name]
    write_atomic(chunks / NOTE, json.dumps(note))
    for folder, files in old.items():
        sweep(folder)
        for file in files:
            try:
                sidecar(file).unlink(missing_ok=True)
                file.unlink()
            except OSError as error:
                raise OutputError(f"{file}: cannot delete this file of an earlier render ({error.strerror})") from error


def stamps(files: Iterable[Path]) -> Stamps:
    """Size and modification time of existing files, by name."""
    found = {file.name: file.stat() for file in files if file.is_file()}
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in found.items()}


def is_intact(folder: Path, stamped: Stamps) -> bool:
    """Whether all stamped files are unchanged; False if there are none."""
    return bool(stamped) and stamps(folder / name for name in stamped) == stamped


def is_folder(output: Path) -> bool:
    """Whether a render is a folder of pictures."""
    return not output.suffix


def report_path(output: Path) -> Path:
    """Path of the report beside a render."""
    return output.with_name(output.name + ".json")


class Report(Settings):
    """The file beside a render or preview: what was written, and with which result."""

    key: str = ""  # identifies everything that determines the render
    files: Stamps = Field(default_factory=dict)
    matte: Stamps = Field(default_factory=dict)
    frames: int = 0
    untouched: tuple[Untouched, ...] = ()
    notes: tuple[str, ...] = ()
    fingerprint: str = ""


def read_report(output: Path) -> Report:
    """The report beside a render; empty if there is none or the file is not a report."""
    try:
        return Report.model_validate(read_json(report_path(output)))
    except (ReadError, ValidationError):
        return Report()


def unfinished_folder(workspace: Path, output: Path) -> Path:
    """Folder in the workspace for unfinished work on this output, used by one merge at a time."""
    return workspace / CHUNKS / hashlib.sha256(str(output.resolve()).encode()).hexdigest()[:16]


def _own_pictures(folder: Path, option: str, output: Path, place: Path) -> list[Path]:
    """The pictures in a folder; raises `OutputError` unless all are unchanged since earlier merges of this output."""
    pictures = [file for file in sorted(folder.iterdir()) if _is_picture(file)] if folder.is_dir() else []
    report = read_report(output)
    stamped = report.matte if option == "--matte" else report.files
    begun = _noted(place, folder)
    foreign = [file for file in pictures if not _is_own(file, stamped, begun)]
    if foreign:
        count = f"{len(foreign)} pictures" if len(foreign) > 1 else "a picture"
        raise OutputError(
            f"{folder}: contains {count} that no earlier merge wrote in this form ({foreign[0].name}); move the "
            f"contents away, or choose another {option}"
        )
    return pictures


def _own_file(output: Path, place: Path) -> None:
    """Raise `OutputError` if the output exists and is not an unchanged earlier render."""
    if output.is_file() and not _is_own(output, read_report(output).files, _noted(place, output.parent)):
        raise OutputError(
            f"{output}: already exists, and no earlier merge wrote it in this form; move it away, or choose another "
            "--output"
        )


def _is_picture(file: Path) -> bool:
    return file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".") and file.is_file()


def _is_own(file: Path, stamped: Stamps, begun: set[str]) -> bool:
    """Whether a file is unchanged since a finished merge, or was being written by a killed one."""
    return file.name in begun or (file.name in stamped and stamps([file]) == {file.name: stamped[file.name]})


def _noted(place: Path, folder: Path) -> set[str]:
    """Names of pictures in a folder that killed merges of one output had begun to write."""
    found: set[str] = set()
    for path in place.glob(f"*/{NOTE}"):
        try:
            found |= set(_NOTE.validate_python(read_json(path)).get(_key(folder), ()))
        except (ReadError, ValidationError):
            continue  # then the user must move away what the killed merge has written
    return found


def _key(folder: Path) -> str:
    return str(folder.resolve())


def _made_from_it(option: str) -> str:
    return f"an input of this render; choose another {option}"


def _names_above(path: Path) -> set[Path | tuple[int, int]]:
    """Identities of all folders that contain a path; see `_names`."""
    return {name for folder in path.resolve().parents for name in _names(folder)}


def _names(path: Path) -> set[Path | tuple[int, int]]:
    """Identities of a file or folder, independent of links; equal files share at least one."""
    resolved = path.resolve()
    try:
        stat = resolved.stat()
    except OSError:
        return {resolved}
    return {resolved, (stat.st_dev, stat.st_ino)} if stat.st_ino else {resolved}
