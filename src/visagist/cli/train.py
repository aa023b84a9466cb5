"""`visagist train`: trains a network on two facesets."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import visagist
from visagist.cli.command import command
from visagist.cli.computing import training_is_possible
from visagist.core.events import EventCallback, Note
from visagist.training import Run, TrainOptions

app = command("train")


@app.default
def train(
    source: Path,
    target: Path,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    others: Annotated[dict[str, Path] | None, Parameter(name="--others")] = None,
    options: Annotated[TrainOptions, Parameter(name="*", validator=training_is_possible)] = TrainOptions(),  # noqa: B008 - frozen
    events: Annotated[EventCallback, Parameter(parse=False)],
) -> Run:
    """Train a network on the facesets SOURCE (the subject whose face will appear) and TARGET (the performer).

    Ctrl-C saves the run; the same command continues it. To continue a finished run, raise its iterations or minutes.

    ```
    visagist train faces/anna faces/bert -o runs/anna-bert --preset draft

    visagist train faces/anna faces/bert -o runs/night --minutes 480

    visagist train --model liae --help
    ```

    Parameters
    ----------
    source:
        Faceset of the subject whose face will appear.
    target:
        Faceset of the performer.
    output:
        Folder of the run.
    others:
        Facesets of more subjects by name, such as `--others.carl faces/carl`; `visagist merge --subject carl` chooses
        one.
    """
    events(Note("train", "merging will require consent records of both people: `visagist consent new`"))
    return visagist.train(source, target, output, others=others, options=options, on_event=events)
