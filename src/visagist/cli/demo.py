"""`visagist demo`: a swap of the footage that travels with the package."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import visagist
from visagist.cli.computing import device_is_named
from visagist.core.events import EventCallback
from visagist.jobs.merge import Render


def iterations_are_some(_: type, iterations: int | None) -> None:
    """Refuse no iterations at all, and fewer.

    Raises:
        ValueError: there are none.
    """
    if iterations is not None and iterations < 1:
        raise ValueError(f"--iterations: {iterations} is none; give 1 or more")


def demo(
    *,
    output: Annotated[Path, Parameter(alias="-o")] = Path("demo-output/swap.mp4"),
    iterations: Annotated[int | None, Parameter(validator=iterations_are_some)] = None,
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
        Training iterations; 3600 by default, which give a convincing face. Few give a blurred one quickly.
    """
    return visagist.demo_swap(output, iterations=iterations, device=device, on_event=events)
