"""The workspace of a swap or merge.

OUTPUT.workspace/
  visagist.toml    the resolved call of `swap`; `visagist swap --config` repeats it
  done.json        inputs of the finished render
  source/ target/  facesets
  run/             training run
  tables/          face tables of the target
  safeguard/       marks of targets that passed the safeguard
  merge/           chunks of unfinished renders
"""

from pathlib import Path

from visagist.core.errors import OutputError

CALL, DONE = "visagist.toml", "done.json"
SOURCE, TARGET, RUN = "source", "target", "run"
TABLES, SAFEGUARD, CHUNKS = "tables", "safeguard", "merge"  # of a merge; no output may be inside them


def default_workspace(output: Path) -> Path:
    """`OUTPUT.workspace` beside the output.

    Raises:
        OutputError: the output has no name.
    """
    check_name(output)
    return output.with_name(output.name + ".workspace")


def check_name(output: Path) -> None:
    """Raise `OutputError` for an output without a name, such as `.` or `..`."""
    if output.name in ("", ".."):
        raise OutputError(f"{output}: has no name; give the name of a file or folder")


def create_folder(folder: Path) -> None:
    """Create a folder; raises `OutputError` if that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be created ({error.strerror}); choose another place") from error
