"""The folder of a production.

OUTPUT.workspace/
  visagist.toml    the resolved call of `swap`; `visagist swap --config` repeats it
  done.json        what the finished render was made from
  source/ target/  facesets
  run/             training run
  tables/          faces of each frame of the target
  safeguard/       targets that passed the safeguard
  merge/           chunks of unfinished renders
"""

from pathlib import Path

from visagist.core.errors import OutputError

CALL, DONE = "visagist.toml", "done.json"
SOURCE, TARGET, RUN = "source", "target", "run"
TABLES, SAFEGUARD, CHUNKS = "tables", "safeguard", "merge"  # of a merge; no output may lie in them


def default_workspace(output: Path) -> Path:
    """`OUTPUT.workspace` beside the output.

    Raises:
        OutputError: the output has no name.
    """
    check_name(output)
    return output.with_name(output.name + ".workspace")


def check_name(output: Path) -> None:
    """Refuse an output such as `.` or `..`, after which nothing beside it can be named.

    Raises:
        OutputError: it has no name.
    """
    if output.name in ("", ".."):
        raise OutputError(f"{output}: has no name of its own; give a file, or a folder by its name")


def claim_folder(folder: Path) -> None:
    """Create a folder, so that one that cannot be created is found before the work.

    Raises:
        OutputError: it cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be created ({error.strerror}); choose another place") from error
