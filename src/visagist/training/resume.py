"""New, continued and extended runs: which options may change, and the resulting plan.

`iterations` and `minutes` are totals of the run, so repeating a command after a crash completes the run and no more.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from visagist.core.errors import RunError
from visagist.faceset.split import validation_count
from visagist.models import ARCHITECTURES, configure
from visagist.models.bundle import Ancestor, Origin
from visagist.training.checkpoint import State, plan_of, read_state, saved_iterations, write_state
from visagist.training.config import DEFAULT_MINUTES, TrainOptions, by_flag
from visagist.training.data.crops import Crops
from visagist.training.optimizers import suited_rate
from visagist.training.run import CHECKPOINTS, RECORD, RunRecord
from visagist.training.schedule import Plan

# All other options affect the result; if they changed halfway, the record would be wrong.
CHANGEABLE = {"iterations", "minutes", "until", "device", "checkpointing"}
CHANGEABLE |= {"save_every", "preview_every", "backup_every", "backups"}
OTHER_RUN_HINT = (
    "continue with the options of the run, or train into another run folder (in a swap: another --workspace)"
)

Measure = Callable[[float], int]  # minutes to iterations


def check_same_options(run: Path, options: TrainOptions) -> TrainOptions:
    """Check that the options are those of an existing run; with `find_rate`, returns them with the rate found earlier.

    Raises:
        RunError: the run was started with other options, or has another format.
    """
    if not (run / RECORD).exists():
        return options
    known = RunRecord.read(run).options
    if options.find_rate and options.learning_rate is None:
        options = options.model_copy(update={"learning_rate": known.learning_rate})
    before, now = fixed_options(known), fixed_options(options)
    if before["--model"] != now["--model"]:  # do not list the settings of different models
        before, now = {"--model": before["--model"]}, {"--model": now["--model"]}
    changed = [f"{name} was {before[name]}, now {now[name]}" for name in now if now[name] != before[name]]
    if changed:
        preset = known.preset if options.preset is None else None
        hint = f"give --preset {preset}, or {OTHER_RUN_HINT}" if preset else OTHER_RUN_HINT
        raise RunError(f"{run}: this run was started with other options ({', '.join(changed)}); {hint}")
    return options


def fixed_options(options: TrainOptions) -> dict[str, Any]:
    """Options that a run cannot change, including its model's settings, by their names on the command line."""
    values = options.model_dump(mode="json", exclude=CHANGEABLE)
    values["settings"] = vars(configure(options.model, options.settings))
    values["learning_rate"] = options.learning_rate or suited_rate(
        options.optimizer.name, ARCHITECTURES[options.model].learning_rate
    )
    return by_flag(values)


def new_record(
    options: TrainOptions, crops: Mapping[str, Crops], measure: Measure, ancestor: Ancestor | None
) -> RunRecord:
    """Create the record of a new run.

    Raises:
        ConfigError: the warm-up is too long for the training.
    """
    total = options.iterations or measure(options.minutes or DEFAULT_MINUTES)
    return RunRecord(
        plan=Plan.of(total, options.schedule),
        size=configure(options.model, options.settings).size,
        identities=tuple(crops),
        options=options,
        origins=_origins(crops, options),
        ancestor=ancestor,
    )


def continued_record(
    run: Path, record: RunRecord, options: TrainOptions, crops: Mapping[str, Crops], measure: Measure
) -> RunRecord:
    """The record of a continued run, with its plan resized if the options request another length.

    Raises:
        RunError: the run has other facesets, or has trained longer than requested.
    """
    if set(crops) != set(record.identities):
        raise RunError(
            f"{run}: has the identities {', '.join(record.identities)}, not {', '.join(crops)}; {OTHER_RUN_HINT}"
        )
    for name, each in crops.items():
        if each.fingerprint != record.origins[name].fingerprint:
            raise RunError(
                f"{run}: this run was started with another {name} faceset ({record.origins[name].crops} crops, now "
                f"{len(each.images)}); {OTHER_RUN_HINT}"
            )
    # Facts about the same crops may have changed, such as whether their footage shows other subjects.
    update: dict[str, Any] = {"origins": _origins(crops, options)}
    state = read_state(run / CHECKPOINTS)
    total = _requested_total(record, options, measure)
    if total is not None:
        done = state.latest if state else 0
        trained_by = plan_of(run / CHECKPOINTS, done) if state else record.plan
        plan = _resized(run, record, options, total, done, trained_by)
        update |= {"plan": plan, "plateau": None, "options": options}
        if done in (trained_by.total, record.plan.total):
            update["finished"] = done
    continued = record.model_copy(update=update)
    _resume_iteration(run, state, continued.plan)  # raises before the record changes
    return continued


def _origins(crops: Mapping[str, Crops], options: TrainOptions) -> dict[str, Origin]:
    return {
        name: Origin(
            crops=len(each.images),
            validation=validation_count(len(each.images), options.held_out)
            if each.validation is None
            else each.validation,
            fingerprint=each.fingerprint,
            footage=each.footage,
            centroid=each.centroid,
            is_alone=each.is_alone,
            people=each.people,
        )
        for name, each in crops.items()
    }


def _requested_total(record: RunRecord, options: TrainOptions, measure: Measure) -> int | None:
    """Total iterations that the options request, None if the length is unchanged.

    Earlier minutes keep their number of iterations; only additional minutes are converted by timing.
    """
    before = record.options
    if (options.iterations, options.minutes) in ((None, None), (before.iterations, before.minutes)):
        return None
    if options.iterations is not None:
        return options.iterations
    minutes = options.minutes or DEFAULT_MINUTES
    if before.iterations is not None:  # its minutes are unknown
        return measure(minutes)
    known = before.minutes or DEFAULT_MINUTES
    if minutes <= known:
        return max(1, int(record.plan.total * (minutes / known)))
    return record.plan.total + measure(minutes - known)


def _resized(run: Path, record: RunRecord, options: TrainOptions, total: int, done: int, trained_by: Plan) -> Plan:
    """The plan of a run with another total."""
    if total < done:
        asked = f"--iterations {total}" if options.minutes is None else f"--minutes {options.minutes:g} ({total} here)"
        raise RunError(
            f"{run}: {done} iterations are done, more than {asked}; request more than that, omit the length, or "
            "train into another run folder (in a swap: another --workspace)"
        )
    position, constant = min(done, trained_by.cool_down_start), 1 - options.schedule.cool_down
    if total == position and 0 < constant < 1:
        enough = math.ceil((position - 0.5) / constant)
        raise RunError(
            f"{run}: {position} iterations are done, so a total of {total} leaves none for a cool-down; request at "
            f"least {enough}, or go back with `visagist rewind {run}`"
        )
    return record.plan.resized(total, position, options.schedule)


def leave_cool_down(run: Path, record: RunRecord) -> None:
    """Go back to the start of an earlier plan's cool-down, if the latest checkpoint is in it."""
    state = read_state(run / CHECKPOINTS)
    iteration = _resume_iteration(run, state, record.plan)
    if state is not None and iteration != state.latest:
        update = {"latest": iteration, "failures": 0, "before_interruption": None}
        write_state(run / CHECKPOINTS, state.model_copy(update=update))


def _resume_iteration(run: Path, state: State | None, plan: Plan) -> int:
    """Iteration from which a run continues with a plan: its latest, or one before an earlier plan's cool-down."""
    if state is None:
        return 0
    folder = run / CHECKPOINTS
    trained_by = plan_of(folder, state.latest)
    if state.latest <= trained_by.cool_down_start or trained_by == plan:
        return state.latest
    before = saved_iterations(folder, trained_by.cool_down_start)
    if not before:
        raise RunError(
            f"{run}: cannot be extended, its checkpoint of iteration {trained_by.cool_down_start}, where the cool-down "
            f"began, is missing; `visagist train --start {run}` starts a new run from its weights"
        )
    return before[-1]
