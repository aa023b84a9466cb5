"""`visagist demo`: a swap of the bundled footage."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

import visagist
from visagist.cli.command import command
from visagist.cli.computing import device_is_named
from visagist.core.events import EventCallback
from visagist.jobs.merge import Render

app = command("demo")


@app.default
def demo(
    *,
    output: Annotated[Path, Parameter(alias="-o")] = Path("demo-output/swap.mp4"),
    iterations: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    device: Annotated[str, Parameter(validator=device_is_named)] = "auto",
    events: Annotated[EventCallback, Parameter(parse=False)],
) -> Render:
    """Swap the faces of the two speakers in the bundled footage; the last line printed is the path of the render.

    ```
    visagist demo -o demo.mp4
    ```

    Parameters
    ----------
    output:
        The render.
    device:
        Where to compute: `auto`, `cpu`, `mps`, `cuda` or `cuda:N`.
    iterations:
        Training iterations. The default of 900 gives a convincing face; fewer give a blurred one sooner.
    """
    return visagist.demo_swap(output, iterations=iterations, device=device, on_event=events)
