"""visagist: face swapping for people who have the right to do it; what comes out is signed as synthetic.

The steps, each a function that can be called alone, and `swap`, which does the first three:

    extract(footage, faceset)         footage to one person's face crops
    train(source, target, run)        two facesets to a trained network
    merge(target, run, output)        a network and a target to a signed render
    evaluate(render, target, source)  how good a render is, in figures beside those of two baselines
    verify(path)                      who made a file, and is it intact
    pretrain(folder, run)             facesets of many people to a network that `train` can begin with

Long jobs take `events`, a callable that is told how far they are; `silent` is one that listens to nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from visagist.core.errors import VisagistError
    from visagist.core.events import silent
    from visagist.evaluation import Evaluation
    from visagist.faces import AnalyzeOptions, FaceTable, analyze
    from visagist.faceset import Faceset
    from visagist.jobs.diagnostics import examine
    from visagist.jobs.evaluate import EvaluateOptions, evaluate
    from visagist.jobs.extract import ExtractOptions, extract
    from visagist.jobs.merge import MergeSummary, merge
    from visagist.jobs.preview import preview_merge
    from visagist.jobs.swap import SourceOptions, demo_swap, new_consent, swap
    from visagist.jobs.train import pretrain, train
    from visagist.media import EncodeOptions, Footage, Frame, Reader, find_footage, probe
    from visagist.merging import MergeOptions
    from visagist.models.bundle import TrainedNetwork
    from visagist.provenance import (
        Consent,
        Verification,
        add_known_signer,
        known_signers,
        load_consent,
        remove_known_signer,
        verify,
    )
    from visagist.training import Run, TrainOptions, rewind

__all__ = [
    "AnalyzeOptions",
    "Consent",
    "EncodeOptions",
    "EvaluateOptions",
    "Evaluation",
    "ExtractOptions",
    "FaceTable",
    "Faceset",
    "Footage",
    "Frame",
    "MergeOptions",
    "MergeSummary",
    "Reader",
    "Run",
    "SourceOptions",
    "TrainOptions",
    "TrainedNetwork",
    "Verification",
    "VisagistError",
    "add_known_signer",
    "analyze",
    "demo_swap",
    "evaluate",
    "examine",
    "extract",
    "find_footage",
    "known_signers",
    "load_consent",
    "merge",
    "new_consent",
    "pretrain",
    "preview_merge",
    "probe",
    "remove_known_signer",
    "rewind",
    "silent",
    "swap",
    "train",
    "verify",
]

# Where each public name lives. Loaded at first use: whoever verifies a file does not wait for torch.
_ROOMS = {
    "core.errors": ("VisagistError",),
    "core.events": ("silent",),
    "evaluation": ("Evaluation",),
    "faces": ("AnalyzeOptions", "FaceTable", "analyze"),
    "faceset": ("Faceset",),
    "jobs.diagnostics": ("examine",),
    "jobs.evaluate": ("EvaluateOptions", "evaluate"),
    "jobs.extract": ("ExtractOptions", "extract"),
    "jobs.merge": ("MergeSummary", "merge"),
    "jobs.preview": ("preview_merge",),
    "jobs.train": ("pretrain", "train"),
    "jobs.swap": ("SourceOptions", "demo_swap", "new_consent", "swap"),
    "media": ("EncodeOptions", "Footage", "Frame", "Reader", "find_footage", "probe"),
    "merging": ("MergeOptions",),
    "provenance": (
        "Consent",
        "Verification",
        "add_known_signer",
        "known_signers",
        "load_consent",
        "remove_known_signer",
        "verify",
    ),
    "models.bundle": ("TrainedNetwork",),
    "training": ("Run", "TrainOptions", "rewind"),
}
_HOME = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'visagist' has no attribute '{name}'")
    return getattr(importlib.import_module(f"visagist.{_HOME[name]}"), name)
