"""Types that every package shares."""

import os
import re
from typing import Annotated, Literal

from pydantic import AfterValidator

StrPath = str | os.PathLike[str]

Coverage = Literal["mouth", "half", "mid", "full", "whole", "head"]
"""How much of the head a crop shows."""


def _check_use(use: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,39}", use):
        raise ValueError(f"'{use}' is not the name of a use: give lower-case letters, digits and hyphens, such as film")
    return use


Use = Annotated[str, AfterValidator(_check_use)]
"""Name of a use of a render: 1 to 40 lower-case letters, digits and hyphens."""
