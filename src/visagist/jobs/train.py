"""Public training functions: checks, locks and signed previews around `visagist.training`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from visagist.core.errors import ConfigError
from visagist.core.events import EventCallback, Note
from visagist.core.options import combine
from visagist.core.settings import save_call
from visagist.core.types import StrPath
from visagist.faceset import Faceset
from visagist.models import configure
from visagist.provenance import Claim, Signer, sign_picture
from visagist.training.config import TrainOptions
from visagist.training.data import Crops, load_crops
from visagist.training.preview import Sign
from visagist.training.recipes.pretrain import facesets_in, load_pool
from visagist.training.recipes.swap import by_identity
from visagist.training.run import STEP, Run
from visagist.training.setup import checked_options, exclusive, prepare
from visagist.training.train import train_run

CALL, PRETRAIN_CALL = "train.toml", "pretrain.toml"  # in the run: the resolved call


def train(
    source: Faceset | StrPath,
    target: Faceset | StrPath,
    run: StrPath,
    *,
    others: Mapping[str, Faceset | StrPath] | None = None,
    iterations: int | None = None,
    minutes: float | None = None,
    model: str | None = None,
    device: str | None = None,
    options: TrainOptions | None = None,
    on_event: EventCallback | None = None,
) -> Run:
    """Train a network that predicts the source's face with the target's expression.

    Started by `torchrun`, all processes train one network together and share each batch; the first one writes the run,
    emits events and returns metrics.

    Args:
        source: faceset of the subject whose face will appear.
        target: faceset of the performer whose face is to be replaced.
        run: folder of the run. An unfinished run is continued. A finished one is left as it is, or extended from the
            start of its cool-down if more iterations or minutes are asked for.
        others: facesets of more subjects by name, any of whom can then be swapped onto the target.
        iterations: total iterations of the run.
        minutes: total training time of the run instead; 8.5 for a new run with neither.
        model: architecture, such as `visage` (the default) or `df`.
        device: `auto`, `cpu`, `mps`, `cuda` or `cuda:N`.
        options: all other settings; of an existing run, only length, device and intervals may change.
        on_event: callback receiving progress, metrics and warnings.

    Returns:
        The run with its statistics, for `merge` and `evaluate`.

    Raises:
        FacesetError: a folder is not a faceset, or has too few crops.
        RunError: the run has other facesets, other options or another format, is longer than requested, or is being
            trained by another process; or another process of this training has ended.
        CollapseError: the training diverged too often, or collapsed.
        OutputError: the run cannot be written.
        ConfigError: an unknown model, setting or device, a setting given twice, too little memory, or `run` is one of
            the facesets.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the state is saved, unless the message says otherwise.
    """
    options = combine(options, TrainOptions, iterations=iterations, minutes=minutes, model=model, device=device)
    folders = {name: Path(each) for name, each in by_identity(source, target, dict(others or {})).items()}
    run = Path(run)
    for name, folder in folders.items():
        if run.resolve() == folder.resolve():
            raise ConfigError(f"{run}: is the {name} faceset; choose a separate folder for the run")

    def count() -> int:
        return sum(len(Faceset.open(folder)) for folder in folders.values())

    def load(options: TrainOptions, size: int, events: EventCallback) -> dict[str, Crops]:
        for folder in folders.values():
            if note := _lacking_masks(Faceset.open(folder)):
                events(Note(STEP, note))
        return {name: load_crops(folder, options.coverage, size, options.margin) for name, folder in folders.items()}

    source, target, *rest = folders.values()
    given = {"source": source, "target": target, "others": dict(zip(list(folders)[2:], rest, strict=True))}
    return _train(tuple(folders), run, options, count, load, run / CALL, given, on_event)


def pretrain(
    facesets: StrPath,
    run: StrPath,
    *,
    iterations: int | None = None,
    minutes: float | None = None,
    model: str | None = None,
    device: str | None = None,
    options: TrainOptions | None = None,
    on_event: EventCallback | None = None,
) -> Run:
    """Train a network on many subjects, as the start of other runs (`TrainOptions.start`).

    Arguments and errors not listed are those of `train`.

    Args:
        facesets: folder with one faceset per subject, at any depth; or a single faceset of many subjects.
        run: folder of the run, outside `facesets`.
        options: all other settings; a run that starts from this one needs the same model, settings and coverage.

    Raises:
        FacesetError: there is no faceset or only one subject, facesets are nested, or a crop is damaged.
        ConfigError: a loss needs two identities, or the run would be inside `facesets`.
    """
    options = combine(options, TrainOptions, iterations=iterations, minutes=minutes, model=model, device=device)
    folder, run = Path(facesets), Path(run)
    if losses := options.losses.of_swap:
        name = losses[0]
        raise ConfigError(
            f"{name} needs two different identities, but both identities of a pretraining are all subjects; leave "
            f"--losses.{name.replace('_', '-')} at 0, and set it in the training that starts from this run"
        )
    if options.augmentation.driven:
        raise ConfigError(
            "--augmentation.driven needs two different identities, but both of a pretraining are all subjects; leave "
            "it out"
        )
    if run.resolve().is_relative_to(folder.resolve()):
        raise ConfigError(f"{run}: is inside {folder}, where its previews would be read as crops; put it elsewhere")

    def count() -> int:
        return sum(len(Faceset.open(each)) for each in facesets_in(folder))

    def load(options: TrainOptions, size: int, events: EventCallback) -> dict[str, Crops]:
        pool, description = load_pool(folder, options.coverage, size, options.margin, options.held_out)
        events(Note(STEP, description))
        return {"source": pool, "target": pool}

    given = {"folder": folder}
    return _train(("source", "target"), run, options, count, load, run / PRETRAIN_CALL, given, on_event)


def _train(
    identities: tuple[str, ...],
    run: Path,
    options: TrainOptions,
    count: Callable[[], int],
    load: Callable[[TrainOptions, int, EventCallback], dict[str, Crops]],
    call: Path,
    given: dict[str, Any],
    on_event: EventCallback | None,
) -> Run:
    """Check options, load crops and train; `given` are the arguments to save in the file `call`."""
    with exclusive(run, on_event) as (world, events):
        options = checked_options(options, run, identities, count, events)
        crops = load(options, configure(options.model, options.settings).size, events)
        training = prepare(crops, run, options, events, preview_signer() if world.is_main else None)
        # Saved only now that everything is accepted: a refused call must not replace the one that made the run.
        if world.is_main:
            save_call(call, {**given, "output": run, **training.options.model_dump()})
        return train_run(training)


def preview_signer() -> Sign:
    """Signs previews with the user's key."""
    signer = Signer.default()
    return lambda picture: sign_picture(picture, ".png", Claim(None, ()), None, signer)


def _lacking_masks(faceset: Faceset) -> str:
    """What it means that crops have no mask; empty if all have one."""
    count = sum(record.mask is None for record in faceset.records)
    what = "everything inside the hull of their landmarks is taken for the face, hair and hands included"
    return f"{faceset.path}: {count} of {len(faceset)} crops have no mask, so {what}" if count else ""
