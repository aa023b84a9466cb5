"""A run and a target to a signed render.

- `merge`: the whole way, with consent, safeguard and signature
- `preview_merge`: a signed before/after/mask sheet of a few frames
- `check_output`: refuses an output that would overwrite what it is made from

Frames that are merged and not signed stay inside the package (`pipeline.merge_frames`).
"""

from visagist.merging.destination import check_output, made_from
from visagist.merging.merge import MergeSummary, merge
from visagist.merging.options import MergeOptions
from visagist.merging.pipeline import Untouched
from visagist.merging.preview import PreviewSummary, preview_merge

__all__ = [
    "MergeOptions",
    "MergeSummary",
    "PreviewSummary",
    "Untouched",
    "check_output",
    "made_from",
    "merge",
    "preview_merge",
]
