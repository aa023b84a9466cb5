"""How long a run trains: decided when it begins, and anew when it is asked for more.

- `settle`: the record to train by, written before anything is trained by it
- `known_record`: the record of a run that is there, once its options are found to be the same
- `plan_iterations`: minutes to iterations, by measuring
- `speed`: in words
- `find_rate`: the learning rate with which a training falls fastest
- `network_size`: of the model that the options name

`iterations` and `minutes` count the run's whole training, not one call's: only so can the same command, given again
after a crash, end what it began and no more.
"""

import itertools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from visagist.core.device import Compute
from visagist.core.errors import RunError
from visagist.core.events import Events, Note
from visagist.models import ARCHITECTURES, configure
from visagist.models.bundle import Ancestor
from visagist.training.checkpoint import checkpoint_iteration
from visagist.training.config import DEFAULT_MINUTES, TrainOptions
from visagist.training.data.crops import Crops, Side
from visagist.training.distributed import World
from visagist.training.optimizers import suited_rate
from visagist.training.run import CHECKPOINT, RECORD, RunRecord, origin_of
from visagist.training.schedule import RateCurve, ScheduleOptions, check_warm_up, range_test
from visagist.training.trainer import Trainer
from visagist.training.warm_start import Start

STEP = "train"
RATES, TRIED = (1e-6, 0.1), 100  # learning rates that are tried, in so many iterations
MEASURED, DISCARDED = 9, 3  # iterations of the warm-up
ENDLESS = 10**6  # iterations of a training that is only tried: what comes at the end of one does not come
BESIDES = 0.05  # part of the time that checkpoints, previews and figures take
# What may differ when a run is continued. All else decides what the network becomes: changed halfway, the run would be
# neither of the two that its record could name.
FREE = {"iterations", "minutes", "until", "device", "save_every", "preview_every", "backup_every", "backups"}
FREE |= {"checkpointing", "compile"}  # which change no more than rounding
ELSEWHERE = "go on with what it was begun with, or train into another run folder (in a swap: another --workspace)"

Measure = Callable[[float], int]  # minutes to iterations


def settle(
    run: Path,
    options: TrainOptions,
    people: Mapping[str, Crops],
    measure: Measure,
    beginning: Ancestor | None = None,
) -> RunRecord:
    """Decide how long a run trains and write it down: killed later, it is continued with the same plan.

    Args:
        run: its folder; new, unfinished or finished.
        options: with the length that is asked for, of the run as a whole. Neither `iterations` nor `minutes` means 8.5
            minutes for a new run, and for one that is there the length that it has.
        people: everybody's crops by name, the source first, the target second.
        measure: how many iterations some minutes are; called only where minutes are asked for that have no count yet.
        beginning: weights with which a run begins that has not been trained yet.

    Raises:
        RunError: the run is of other facesets, other options or another format, or has trained longer than is asked.
        OutputError: the record cannot be written.
        ConfigError: the warm-up is too long for the training.
    """
    record = known_record(run, options)
    if record is None:
        iterations = options.iterations or measure(options.minutes or DEFAULT_MINUTES)
        check_warm_up(iterations, options.schedule)
        record = RunRecord(
            iterations=iterations,
            size=network_size(options),
            identities=tuple(people),
            options=options,
            beginning=beginning,
            **_origins(people, options.held_out),
        )
        write(record, run)
        return record
    options = with_found_rate(options, record.options)
    if set(people) != set(record.identities):
        raise RunError(
            f"{run}: this run was begun with {', '.join(record.identities)}, now {', '.join(people)}; {ELSEWHERE}"
        )
    for name, crops in people.items():
        origin = record.origins[name]
        if crops.fingerprint != origin.fingerprint:
            raise RunError(
                f"{run}: this run was begun with another {name} faceset ({origin.crops} crops, now "
                f"{len(crops.images)}); {ELSEWHERE}"
            )
    if beginning is not None and beginning != record.beginning:
        raise RunError(
            f"{run}: the run that this one begins with has been trained on since; delete {run}, or train into another "
            "run folder"
        )
    done = checkpoint_iteration(run / CHECKPOINT)
    # Gone back past a change of plan, by the guard or by a rewind that was killed before it had come to the record.
    known = record.rewound(done)
    landed = known.plateau is not None and options.until == "plateau" and same_length(record.options, options)
    total = known.iterations if landed else asked_iterations(known, options, measure)
    # What else is known of the same crops may have changed, such as whether their footage shows other people.
    known = known.model_copy(update=_origins(people, options.held_out))
    if total < done:
        asked = f"--iterations {total}" if options.minutes is None else f"--minutes {options.minutes:g} ({total} here)"
        raise RunError(
            f"{run}: {done} iterations are done, more than {asked}, and stay as they are; ask for more than that, "
            "leave the length away, or train into another run folder (in a swap: another --workspace)"
        )
    if total != known.iterations:
        check_warm_up(total, options.schedule)
        known = known.replanned(done, total, options)
    if known != record:
        write(known, run)
    return known


def write(record: RunRecord, run: Path) -> None:
    """Write a record down, once all processes of the training have come to it; the first of them does it.

    Raises:
        OutputError: it cannot be written.
    """
    world = World.now()
    world.wait()
    if world.leads:
        record.save(run / RECORD)


def _origins(people: Mapping[str, Crops], part: float) -> dict[str, Any]:
    """The fields of a record that say where everybody's crops come from."""
    origins = {name: origin_of(crops, part) for name, crops in people.items()}
    return {"source": origins.pop("source"), "target": origins.pop("target"), "others": origins}


def known_record(run: Path, options: TrainOptions) -> RunRecord | None:
    """The record of a run that is to be continued with these options, None where there is none yet.

    Raises:
        RunError: it was begun with other options, those that may change excepted, or is of another format.
        ConfigError: an unknown model or setting.
    """
    if not (run / RECORD).exists():
        return None
    record = RunRecord.read(run)
    options = with_found_rate(options, record.options)
    before, now = fixed_options(record.options), fixed_options(options)
    if before["--model"] != now["--model"]:  # whose settings have little in common
        before, now = {"--model": before["--model"]}, {"--model": now["--model"]}
    changed = [f"{name} was {before[name]}, now {now[name]}" for name in now if now[name] != before[name]]
    if changed:
        preset = record.options.preset if options.preset is None else None
        hint = f"give --preset {preset}, with which it was begun, or {ELSEWHERE}" if preset else ELSEWHERE
        raise RunError(f"{run}: this run was begun with other options ({', '.join(changed)}); {hint}")
    return record


def with_found_rate(options: TrainOptions, known: TrainOptions) -> TrainOptions:
    """The options with the learning rate that was found when the run began, where they ask to find one."""
    if not options.find_rate or options.learning_rate is not None:
        return options
    return options.model_copy(update={"learning_rate": known.learning_rate})


def fixed_options(options: TrainOptions) -> dict[str, object]:
    """The options that a run keeps, defaults of its model included, by their names on the command line."""
    values = options.model_dump(mode="json", exclude=FREE)
    values["settings"] = vars(configure(options.model, options.settings))
    values["learning_rate"] = options.learning_rate or suited_rate(
        options.optimizer.name, ARCHITECTURES[options.model].learning_rate
    )
    flat: dict[str, object] = {}
    for name, value in values.items():
        parts = {f"{name}.{part}": of for part, of in value.items()} if isinstance(value, dict) else {name: value}
        flat |= {f"--{part.replace('_', '-')}": of for part, of in parts.items()}
    return flat


def same_length(before: TrainOptions, now: TrainOptions) -> bool:
    """Whether no other length is asked for than before."""
    asked = now.iterations, now.minutes
    return asked in ((None, None), (before.iterations, before.minutes))


def asked_iterations(record: RunRecord, options: TrainOptions, measure: Measure) -> int:
    """How many iterations in all the options ask of a run that is there.

    Minutes that the run has been given before keep the count that they were turned into, fewer ones take their part of
    it; what more minutes add is measured now, since the device may be another one.
    """
    if options.iterations is not None:
        return options.iterations
    if options.minutes is None:
        return record.iterations
    if record.options.iterations is not None:  # a count that was chosen says nothing of minutes
        return measure(options.minutes)
    before = record.options.minutes or DEFAULT_MINUTES
    if options.minutes <= before:
        return max(1, int(record.iterations * (options.minutes / before)))
    return record.iterations + measure(options.minutes - before)


def plan_iterations(
    sides: Mapping[str, Side], options: TrainOptions, compute: Compute, events: Events, minutes: float
) -> int:
    """Turn minutes into iterations by measuring some on a network that is thrown away.

    Where losses act in the end alone, some are measured with them, too: a discriminator may take twice the time of all
    the rest.
    """
    start = time.perf_counter()
    each, losses = measured(sides, options, compute), options.losses
    if losses.late and losses.finish < 1:
        end = options.model_copy(update={"losses": losses.model_copy(update={"finish": 1.0})})
        each += losses.finish * (measured(sides, end, compute) - each)
    left = max(0.0, 60 * minutes - (time.perf_counter() - start))
    iterations = World.now().agreed(max(1, int(left * (1 - BESIDES) / each)))  # clocks differ, the plan may not
    rate = speed(options.batch / each)
    events(Note(STEP, f"{compute}: {rate}, so {minutes:g} minutes are {iterations} iterations"))
    return iterations


def measured(sides: Mapping[str, Side], options: TrainOptions, compute: Compute) -> float:
    """Seconds that an iteration of the beginning takes: the median of some."""
    trainer = Trainer(sides, options, ENDLESS, compute)
    times: list[float] = []
    for iteration in range(DISCARDED + MEASURED):
        before = time.perf_counter()
        trainer.step(iteration)
        times.append(time.perf_counter() - before)
    return median(times[DISCARDED:])


def speed(rate: float) -> str:
    """Faces per second in words.

    >>> speed(0.309), speed(61.7)
    ('0.31 faces/s', '62 faces/s')
    """
    return f"{rate:.{0 if rate >= 10 else 2}f} faces/s"


def find_rate(sides: Mapping[str, Side], options: TrainOptions, compute: Compute, start: Start | None) -> RateCurve:
    """Try learning rates on a network that is thrown away."""
    tried = options.model_copy(update={"schedule": ScheduleOptions(warm_up=0, decay="none")})
    trainer = Trainer(sides, tried, ENDLESS, compute, start)
    iterations = itertools.count()

    def step(rate: float) -> float:
        trainer.rate = rate
        return trainer.step(next(iterations))

    return range_test(step, *RATES, TRIED)


def network_size(options: TrainOptions) -> int:
    """Side in px of the faces of the model that the options name.

    Raises:
        ConfigError: an unknown model or setting.
    """
    return configure(options.model, options.settings).size
