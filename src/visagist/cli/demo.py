"""`visagist demo`: a swap of the footage that travels with the package."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

import visagist
from visagist.cli.computing import device_is_named
from visagist.core.events import EventCallback
from visagist.jobs.merge import Render


def demo(
    *,
    output: Annotated[Path, Parameter(alias="-o")] = Path("demo-output/swap.mp4"),
    iterations: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    device: Annotated[str, Parameter(validator=device_is_named)] = "auto",
    events: Annotated[EventCallback, Parameter(parse=False)],
) -> Render:
    """Swap the bundled source speaker into the bundled target; the last line printed is the render's path.

    Parameters
    ----------
    output:
        The render.
    device:
        auto, cpu, mps, cuda or cuda:N.
    iterations:
        Training iterations; 560 by default, which give a convincing face. Fewer give a blurred one sooner.
    """
    return visagist.demo_swap(output, iterations=iterations, device=device, on_event=events)
