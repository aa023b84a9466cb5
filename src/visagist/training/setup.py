"""Setup of a training: checked options, datasets, record and trainer."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

import torch

from visagist.core.device import Compute, reuse_freed_memory, select_device
from visagist.core.errors import ConfigError, RunError
from visagist.core.events import EventCallback, Note, Warned, silent
from visagist.models import configure, create
from visagist.training.budget import plan_iterations
from visagist.training.checkpoint import read_state
from visagist.training.config import TrainOptions
from visagist.training.data import Crops, IdentityDataset
from visagist.training.distributed import World, join_processes, own_device, split_batch
from visagist.training.memory import check_memory
from visagist.training.presets import with_preset
from visagist.training.preview import Sign
from visagist.training.rate_finder import find_rate
from visagist.training.resume import check_same_options, continued_record, new_record
from visagist.training.run import CHECKPOINTS, RECORD, STEP, Run, RunRecord, check_untrained, run_lock
from visagist.training.train import train_run
from visagist.training.trainer import Trainer, faces_per_identity
from visagist.training.training_run import TrainingRun
from visagist.training.warm_start import check_start, describe_start, frozen, start_from, starting_weights


def train_crops(
    crops: Mapping[str, Crops],
    run: Path,
    options: TrainOptions,
    *,
    on_event: EventCallback | None = None,
    sign: Sign | None = None,
) -> Run:
    """Train a network on crops in memory; `visagist.train` does the same with facesets and documents the errors.

    Args:
        crops: by identity, `source` first, `target` second; `(N, S, S, 3)` with S the network's size times
            `options.margin`.
        run: the run's folder. An unfinished run is continued; a finished one is extended if the options are longer.
        options: settings; for an existing run, only length, device and intervals may differ.
        on_event: callback receiving progress, metrics and warnings.
        sign: signs a preview and writes it to its final path. Without it no previews are written, since synthetic
            faces are never left unsigned.
    """
    with exclusive(run, on_event) as (_, events):
        count = sum(len(each.images) for each in {id(each): each for each in crops.values()}.values())
        options = checked_options(options, run, tuple(crops), lambda: count, events)
        return train_run(prepare(crops, run, options, events, sign))


@contextmanager
def exclusive(run: Path, on_event: EventCallback | None) -> Iterator[tuple[World, EventCallback]]:
    """Join the processes of this training, lock the run's folder, and emit events on the main process only."""
    with join_processes() as world, reuse_freed_memory(), run_lock(run) if world.is_main else nullcontext():
        world.wait()  # until the main process has the lock, or has ended because it cannot get it
        yield world, (on_event or silent) if world.is_main else silent


def checked_options(
    options: TrainOptions, run: Path, identities: tuple[str, ...], count_crops: Callable[[], int], events: EventCallback
) -> TrainOptions:
    """The options filled by their preset, after all checks that are possible without reading crops."""
    world = World.current()
    if world.is_main:
        options = with_preset(options, run, identities, count_crops, events)
    options = (
        TrainOptions.model_validate_json(world.broadcast_text(options.model_dump_json())) if world.size > 1 else options
    )
    options = check_same_options(run, options)
    if options.batch < len(identities):
        raise ConfigError(f"a batch of {options.batch} is too small for {len(identities)} identities; raise --batch")
    split_batch(faces_per_identity(options.batch, len(identities)), options.optimizer.accumulate, world)
    if options.freeze:
        with torch.device("meta"):  # shapes only
            frozen(create(options.model, identities, **options.settings), options.freeze)
    if read_state(run / CHECKPOINTS) is None:
        check_untrained(run)
        if isinstance(options.start, Path):
            check_start(options.start, options)
    if world.is_main and not (run / RECORD).exists():  # an existing run has fitted before
        memory = check_memory(options, identities, select_device(own_device(options.device)), count_crops())
        events(Note(STEP, memory))
    return options


def prepare(
    crops: Mapping[str, Crops], run: Path, options: TrainOptions, events: EventCallback, sign: Sign | None
) -> TrainingRun:
    """Prepare a run with options from `checked_options`, and write its record.

    Raises:
        RunError: the run has other crops, or has trained longer than requested.
    """
    compute = select_device(own_device(options.device))
    datasets = load_datasets(crops, options, compute)
    is_new = read_state(run / CHECKPOINTS) is None
    source = starting_weights(options) if is_new else None
    start = None if source is None else start_from(source, options)
    measure = partial(plan_iterations, datasets, options, compute, events)
    if (run / RECORD).exists():
        known = RunRecord.read(run)
        record = continued_record(run, known, options, crops, measure)
        if start is not None and start.ancestor != known.ancestor:
            raise RunError(f"{source}: has changed since {run} started from it; train into another run folder")
    else:
        if options.find_rate and options.learning_rate is None:
            curve = find_rate(datasets, options, compute, start)
            events(Note(STEP, curve.as_text()))
            options = options.model_copy(update={"learning_rate": curve.suggestion})
        known, record = None, new_record(options, crops, measure, start.ancestor if start else None)
    world = World.current()
    world.wait()
    if world.is_main and record != known:
        record.save(run / RECORD)
    if options.iterations is None and options.minutes is None:
        length = {name: getattr(record.options, name) for name in ("iterations", "minutes")}
        options = options.model_copy(update=length)  # so that the saved options state it
    if options.losses.finishing and record.plan.cool_down_start == record.plan.total:
        idle = ", ".join(options.losses.finishing)
        events(Warned(STEP, f"{idle} will have no effect: this training has no cool-down; set --schedule.cool-down"))
    if is_new:
        events(Note(STEP, describe_start(start, options, tuple(crops))))
    trainer = Trainer(datasets, options, record.plan, compute, start)
    return TrainingRun(trainer, run, record, options, events, sign)


def load_datasets(crops: Mapping[str, Crops], options: TrainOptions, compute: Compute) -> dict[str, IdentityDataset]:
    """Datasets on the device by identity; a pool shared by several identities is held once."""
    side = round(configure(options.model, options.settings).size * options.margin)
    datasets: dict[int, IdentityDataset] = {}
    for each in crops.values():
        if each.images.shape[1] != side:
            raise RunError(f"{each.name}: crops of {each.images.shape[1]} px, model '{options.model}' takes {side}")
        if id(each) not in datasets:
            if options.augmentation.driven and each.landmarks is None:
                raise ConfigError(f"{each.name}: its landmarks are unknown; leave --augmentation.driven out")
            bins = options.augmentation.yaw_bins
            datasets[id(each)] = IdentityDataset(each, options.held_out, compute.device, bins)
    return {name: datasets[id(each)] for name, each in crops.items()}
