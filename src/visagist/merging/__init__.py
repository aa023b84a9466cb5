"""A run and a target to a signed render.

- `merge`: the whole way, with consent, safeguard and signature
- `preview_merge`: a signed before/after/mask sheet of a few frames
- `check_output`: refuses an output that would overwrite what it is made from
- `merge_frames`: frames in, merged frames out, for programs that have their own pipeline
"""

from visagist.merging.destination import check_output, made_from
from visagist.merging.merge import MergeSummary, merge
from visagist.merging.options import MergeOptions
from visagist.merging.pipeline import Merged, Predictor, Untouched, merge_frames
from visagist.merging.preview import PreviewSummary, preview_merge

__all__ = [
    "MergeOptions",
    "MergeSummary",
    "Merged",
    "Predictor",
    "PreviewSummary",
    "Untouched",
    "check_output",
    "made_from",
    "merge",
    "merge_frames",
    "preview_merge",
]
