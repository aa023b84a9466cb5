"""`visagist extract`: extracts a faceset from footage."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import visagist
from visagist.cli.command import command
from visagist.core.errors import SeveralError
from visagist.core.events import EventCallback, Note
from visagist.faceset import Faceset
from visagist.jobs.extract import ExtractOptions

app = command("extract")


@app.default
def extract(
    footage: list[Path],
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    options: Annotated[ExtractOptions, Parameter(name="*")] = ExtractOptions(),  # noqa: B008 - frozen
    events: Annotated[EventCallback, Parameter(parse=False)],
) -> Faceset:
    """Find one subject's face in FOOTAGE and save its aligned crops as a faceset.

    If interrupted, run the same command again to continue. The subject should have agreed: `merge` requires a
    consent record, which `visagist consent new` writes.

    ```
    visagist extract clips/anna/ -o faces/anna

    visagist extract panel.mp4 portraits/ -o faces/bert --reference bert.jpg
    ```

    Parameters
    ----------
    footage:
        Videos, image sequences, and folders of these or of photos.
    output:
        Folder of the faceset.
    """
    events(Note("extract", "merging will require this person's consent record: `visagist consent new`"))
    try:
        return visagist.extract(footage, output, options=options, on_event=events)
    except SeveralError as error:
        raise SeveralError(f"{error}: --identity NUMBER or --reference PICTURE") from error
