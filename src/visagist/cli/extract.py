"""`visagist extract`: footage to a faceset."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import visagist
from visagist.core.errors import SeveralError
from visagist.core.events import EventCallback, Note
from visagist.faceset import Faceset
from visagist.jobs.extract import ExtractOptions


def extract(
    footage: list[Path],
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    options: Annotated[ExtractOptions, Parameter(name="*")] = ExtractOptions(),  # noqa: B008 - frozen
    events: Annotated[EventCallback, Parameter(parse=False)],
) -> Faceset:
    """Find one person's face in FOOTAGE and keep each as an aligned crop.

    Run again, it continues where it stopped. The person in the footage should have agreed: `visagist consent new`
    makes the record that `merge` will ask for.

    Parameters
    ----------
    footage:
        Videos, image sequences, and folders of these or of photos.
    output:
        The folder of the faceset.
    """
    events(Note("extract", "merging will ask for the consent of this person: `visagist consent new`"))
    try:
        return visagist.extract(footage, output, options=options, on_event=events)
    except SeveralError as error:
        raise SeveralError(f"{error}: --identity NUMBER or --reference PICTURE") from error
