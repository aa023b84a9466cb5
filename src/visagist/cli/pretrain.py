"""`visagist pretrain`: trains a network on many people, as the start of other runs."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import visagist
from visagist.cli.command import command
from visagist.cli.computing import training_is_possible
from visagist.core.events import EventCallback
from visagist.training import Run, TrainOptions

app = command("pretrain")


@app.default
def pretrain(
    folder: Path,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    options: Annotated[TrainOptions, Parameter(name="*", validator=training_is_possible)] = TrainOptions(),  # noqa: B008 - frozen
    events: Annotated[EventCallback, Parameter(parse=False)],
) -> Run:
    """Train a network on all people in FOLDER, as the start of other trainings (`visagist train --start RUN`).

    Ctrl-C saves the run; the same command continues it. The result predicts no particular person, so it cannot be
    merged.

    ```
    visagist pretrain faces/crowd/ -o runs/pretrained --minutes 2000

    visagist train faces/anna faces/bert -o runs/anna-bert --start runs/pretrained
    ```

    Parameters
    ----------
    folder:
        Folder with one faceset per person, at any depth; or one faceset of many people.
    output:
        Folder of the run, outside FOLDER.
    """
    return visagist.pretrain(folder, output, options=options, on_event=events)
