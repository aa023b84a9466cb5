"""`visagist check`: what is whole, what would be made again, and what is lost."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import visagist
from visagist.cli.command import command
from visagist.core.events import EventCallback
from visagist.jobs.check import Checked

app = command("check")


@app.default
def check(folder: Path, *, events: Annotated[EventCallback, Parameter(parse=False)]) -> Checked:
    """Check every kept file of FOLDER - a workspace, a run or a faceset - against its hash and format.

    Nothing is changed. Exit code 1 if something is lost that no call makes again.

    ```
    visagist check out.mp4.workspace
    ```

    Parameters
    ----------
    folder:
        The workspace, run or faceset; folders inside it are included.
    """
    return visagist.check(folder, on_event=events)
