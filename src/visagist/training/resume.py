"""Starting and continuing runs: what may change, and the plan to train by.

`iterations` and `minutes` count the run's whole training, not one call's: only so can the same command, given again
after a crash, finish what it began and do no more.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path

from visagist.core.errors import RunError
from visagist.models import ARCHITECTURES, configure
from visagist.models.bundle import Ancestor
from visagist.training.checkpoint import State, plan_of, read_state, saved_iterations, write_state
from visagist.training.config import DEFAULT_MINUTES, TrainOptions
from visagist.training.data.crops import Crops
from visagist.training.optimizers import suited_rate
from visagist.training.run import CHECKPOINTS, RECORD, RunRecord, origin_of
from visagist.training.schedule import Plan

# What may change when a run is continued. Everything else decides what the network becomes: changed halfway, the run
# would be neither of the two that its record could name.
FREE = {"iterations", "minutes", "until", "device", "checkpointing"}
FREE |= {"save_every", "preview_every", "backup_every", "backups"}
ELSEWHERE = "continue with the options of the run, or train into another run folder (in a swap: another --workspace)"

Measure = Callable[[float], int]  # minutes to iterations


def begin(
    run: Path, options: TrainOptions, crops: Mapping[str, Crops], measure: Measure, ancestor: Ancestor | None
) -> RunRecord:
    """The record of a new run.

    Args:
        run: its folder.
        options: all settings, the learning rate found if one was asked for.
        crops: by identity, the source first, the target second.
        measure: how many iterations some minutes are; called only if minutes are asked for.
        ancestor: the run whose weights this one starts from.

    Raises:
        ConfigError: the warm-up is too long for the training.
    """
    total = options.iterations or measure(options.minutes or DEFAULT_MINUTES)
    return RunRecord(
        plan=Plan.of(total, options.schedule),
        size=configure(options.model, options.settings).size,
        identities=tuple(crops),
        options=options,
        origins={name: origin_of(each, options.held_out) for name, each in crops.items()},
        ancestor=ancestor,
    )


def resume(
    run: Path, record: RunRecord, options: TrainOptions, crops: Mapping[str, Crops], measure: Measure
) -> RunRecord:
    """The record of a run that is continued, its plan resized if another length is asked for.

    Args:
        run: its folder.
        record: of the run.
        options: that `known_record` found to be the same; with neither `iterations` nor `minutes` the length stays.
        crops: see `begin`.
        measure: see `begin`.

    Raises:
        RunError: the run is of other facesets, or has trained longer than is asked.
    """
    if set(crops) != set(record.identities):
        raise RunError(f"{run}: this run is of {', '.join(record.identities)}, not {', '.join(crops)}; {ELSEWHERE}")
    for name, each in crops.items():
        if each.fingerprint != record.origins[name].fingerprint:
            raise RunError(
                f"{run}: this run was started with another {name} faceset ({record.origins[name].crops} crops, now "
                f"{len(each.images)}); {ELSEWHERE}"
            )
    state = read_state(run / CHECKPOINTS)
    done = state.latest if state else 0
    total = _asked_total(record, options, measure)
    # What else is known of the same crops may have changed, such as whether their footage shows other subjects.
    update: dict[str, object] = {"origins": {name: origin_of(each, options.held_out) for name, each in crops.items()}}
    if total is not None:
        if total < done:
            asked = (
                f"--iterations {total}" if options.minutes is None else f"--minutes {options.minutes:g} ({total} here)"
            )
            raise RunError(
                f"{run}: {done} iterations are done, more than {asked}; ask for more than that, leave the length "
                "away, or train into another run folder (in a swap: another --workspace)"
            )
        trained_by = plan_of(run / CHECKPOINTS, done) if state else record.plan
        position, constant = min(done, trained_by.cool_down_start), 1 - options.schedule.cool_down
        if total == position and 0 < constant < 1:
            least = math.ceil((position - 0.5) / constant)
            raise RunError(
                f"{run}: {position} iterations are done, and {total} in all leave none for a cool-down; ask for at "
                f"least {least}, or go back with `visagist rewind {run}`"
            )
        plan = record.plan.resized(total, position, options.schedule)
        update |= {"plan": plan, "plateau": None, "options": options}
        if done in (trained_by.total, record.plan.total):
            update["finished"] = done
    found = record.model_copy(update=update)
    _continues_from(run, state, found.plan)  # refused here, before the record changes
    return found


def leave_cool_down(run: Path, record: RunRecord) -> None:
    """Go back to where an earlier plan's cool-down began, if the latest checkpoint lies in one."""
    state = read_state(run / CHECKPOINTS)
    iteration = _continues_from(run, state, record.plan)
    if state is not None and iteration != state.latest:
        write_state(run / CHECKPOINTS, state.model_copy(update={"latest": iteration, "failures": 0}))


def _continues_from(run: Path, state: State | None, plan: Plan) -> int:
    """Iteration from which a run continues by a plan: its latest, or one before another plan's cool-down.

    Raises:
        RunError: there is no checkpoint before that cool-down.
    """
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


def known_record(run: Path, options: TrainOptions) -> RunRecord | None:
    """The record of a run that is to be continued with these options, None for a new run.

    Raises:
        RunError: it was started with other options, or is of another format.
        ConfigError: an unknown model or setting.
    """
    if not (run / RECORD).exists():
        return None
    record = RunRecord.read(run)
    before, now = fixed_options(record.options), fixed_options(with_found_rate(options, record.options))
    if before["--model"] != now["--model"]:  # whose settings have little in common
        before, now = {"--model": before["--model"]}, {"--model": now["--model"]}
    changed = [f"{name} was {before[name]}, now {now[name]}" for name in now if now[name] != before[name]]
    if changed:
        preset = record.options.preset if options.preset is None else None
        hint = f"give --preset {preset}, or {ELSEWHERE}" if preset else ELSEWHERE
        raise RunError(f"{run}: this run was started with other options ({', '.join(changed)}); {hint}")
    return record


def with_found_rate(options: TrainOptions, known: TrainOptions) -> TrainOptions:
    """The options with the learning rate that was found when the run began, if they ask to find one."""
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


def _asked_total(record: RunRecord, options: TrainOptions, measure: Measure) -> int | None:
    """Iterations that the options ask for in all, None if no other length than before.

    Minutes that were asked for before keep their number of iterations; only what more minutes add is measured.
    """
    before = record.options
    if (options.iterations, options.minutes) in ((None, None), (before.iterations, before.minutes)):
        return None
    if options.iterations is not None:
        return options.iterations
    minutes = options.minutes or DEFAULT_MINUTES
    if before.iterations is not None:  # a number that was chosen says nothing of minutes
        return measure(minutes)
    known = before.minutes or DEFAULT_MINUTES
    if minutes <= known:
        return max(1, int(record.plan.total * (minutes / known)))
    return record.plan.total + measure(minutes - known)
