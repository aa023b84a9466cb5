"""`visagist verify`: who signed a file, what was done, and is it intact."""

import json as json_module
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import visagist


def verify(file: Path, /, *, as_json: Annotated[bool, Parameter(parse=False)] = False) -> int:
    """Say who signed FILE, what was done to it, and whether it is intact.

    Exit code 0 when it carries intact credentials, 1 when it was tampered with or carries none.

    Parameters
    ----------
    file:
        A render, a picture, or the folder of a rendered image sequence.
    """
    found = visagist.verify(file)
    print(json_module.dumps(found.as_json(), indent=2) if as_json else found.as_text())
    return 0 if found.ok else 1
