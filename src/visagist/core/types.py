"""Types that every package shares."""

import os
from typing import Literal

StrPath = str | os.PathLike[str]

Coverage = Literal["mouth", "half", "mid", "full", "whole", "head"]
"""How much of the head a crop shows."""
