"""visagist: face swapping for people who have the right to change the footage; every render is signed as synthetic.

    anna = visagist.extract("clips/anna", "faces/anna")
    bert = visagist.extract("clips/bert", "faces/bert")
    run = visagist.train(anna, bert, "runs/anna-bert", minutes=60)
    render = visagist.merge(
        "scene12.mov", "out.mov", run=run, source_consent="anna.toml", target_consent="bert.toml"
    )
    visagist.evaluate(render, "scene12.mov", anna, run=run, report="report.html")
    visagist.verify(render)

`swap` does everything up to the render in one call. Long jobs take `on_event`, a callback that receives their progress.
"""

import os
from typing import TYPE_CHECKING

from visagist.core.lazy import lazy_names

__version__ = "0.1.0"

# onnxruntime from 1.29 on otherwise sends names and hashes of models and messages of errors to its makers.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from visagist.core.errors import VisagistError
    from visagist.core.events import Event, EventCallback, silent
    from visagist.evaluation import Evaluation
    from visagist.faces import AnalyzeOptions, FaceTable, analyze
    from visagist.faceset import ExtractSummary, Faceset
    from visagist.jobs.check import Checked, check
    from visagist.jobs.consent import new_consent
    from visagist.jobs.demo import demo_swap
    from visagist.jobs.diagnostics import examine
    from visagist.jobs.evaluate import EvaluateOptions, evaluate
    from visagist.jobs.extract import ExtractOptions, extract
    from visagist.jobs.merge import Render, merge
    from visagist.jobs.preview import Preview, preview
    from visagist.jobs.swap import swap
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
        revoke_consent,
        revoked_consents,
        verify,
    )
    from visagist.training import Run, TrainOptions, rewind

__all__ = [
    "AnalyzeOptions",
    "Checked",
    "Consent",
    "EncodeOptions",
    "EvaluateOptions",
    "Evaluation",
    "Event",
    "EventCallback",
    "ExtractOptions",
    "ExtractSummary",
    "FaceTable",
    "Faceset",
    "Footage",
    "Frame",
    "MergeOptions",
    "Preview",
    "Reader",
    "Render",
    "Run",
    "TrainOptions",
    "TrainedNetwork",
    "Verification",
    "VisagistError",
    "add_known_signer",
    "analyze",
    "check",
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
    "preview",
    "probe",
    "remove_known_signer",
    "revoke_consent",
    "revoked_consents",
    "rewind",
    "silent",
    "swap",
    "train",
    "verify",
]

# Module of each public name, imported on first use, so that `verify` does not import torch.
_MODULES = {
    "core.errors": ("VisagistError",),
    "core.events": ("Event", "EventCallback", "silent"),
    "evaluation": ("Evaluation",),
    "faces": ("AnalyzeOptions", "FaceTable", "analyze"),
    "faceset": ("ExtractSummary", "Faceset"),
    "jobs.check": ("Checked", "check"),
    "jobs.consent": ("new_consent",),
    "jobs.demo": ("demo_swap",),
    "jobs.diagnostics": ("examine",),
    "jobs.evaluate": ("EvaluateOptions", "evaluate"),
    "jobs.extract": ("ExtractOptions", "extract"),
    "jobs.merge": ("Render", "merge"),
    "jobs.preview": ("Preview", "preview"),
    "jobs.swap": ("swap",),
    "jobs.train": ("pretrain", "train"),
    "media": ("EncodeOptions", "Footage", "Frame", "Reader", "find_footage", "probe"),
    "merging": ("MergeOptions",),
    "models.bundle": ("TrainedNetwork",),
    "provenance": (
        "Consent",
        "Verification",
        "add_known_signer",
        "known_signers",
        "load_consent",
        "remove_known_signer",
        "revoke_consent",
        "revoked_consents",
        "verify",
    ),
    "training": ("Run", "TrainOptions", "rewind"),
}

__getattr__ = lazy_names(__name__, _MODULES)
