"""Presets: options for a whole training, chosen by name, device and memory.

A preset fills options that were not given when a run begins; the run's record keeps them. Of the settings that the
network declares (`Swapper.presets`) and decreasing batch sizes, the first combination that fits into memory is used.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from visagist.core.device import Compute, available_memory, select_device
from visagist.core.errors import ConfigError
from visagist.core.events import EventCallback, Note
from visagist.models import ARCHITECTURES, configure, create
from visagist.models.bundle import read_record
from visagist.training.config import PresetName, TrainOptions, by_flag, plain
from visagist.training.memory import GIB, advice, estimate_memory, remedies, upper_bound
from visagist.training.run import RECORD, STEP, RunRecord, duration

# On CUDA, where more arithmetic per face pays off, and elsewhere. `visage` needs a thirteenth of the arithmetic of `df`
# and has twenty times its learning rate.
MODELS: dict[PresetName, tuple[str, str]] = {
    "draft": ("visage", "visage"),
    "standard": ("df", "visage"),
    "final": ("df", "visage"),
}
BATCHES = (32, 16, 8, 4)
CAUTIOUS_BATCH = 8  # maximum on a CPU, and if the memory is unknown
CPU_BATCH = 4  # for short trainings, in which more steps help more than larger batches
MEMORY_SHARE = 0.8  # maximum fraction of the available memory

# A long training may see each face of a small faceset a thousand times; warps with three grids prevent overfitting. Two
# subjects rarely have the same light, so half of the faces get the colours of the other.
LONG_TRAINING = {
    "augmentation": {"warp_grids": (3, 5, 9), "color_transfer": "rct", "color_transfer_chance": 0.5},
}
SETTINGS: dict[PresetName, dict[str, Any]] = {
    "draft": {"backups": 0},
    "standard": {**LONG_TRAINING, "backups": 3},
    "final": {
        **LONG_TRAINING,
        "losses": {"focal_frequency": 50.0, "gan": 0.1},
        "schedule": {"cool_down": 0.2},
        "backups": 4,
    },
}
# On CUDA, and elsewhere; with `--until plateau` the maximum.
MINUTES: dict[PresetName, tuple[float, float]] = {"draft": (10, 10), "standard": (240, 480), "final": (720, 2880)}
INTERVALS_S: dict[PresetName, dict[str, float]] = {  # a checkpoint of `df` has 1.3 GB
    "draft": {"save_every": 60, "preview_every": 60, "backup_every": 600},
    "standard": {"save_every": 300, "preview_every": 600, "backup_every": 3600},
    "final": {"save_every": 300, "preview_every": 1200, "backup_every": 3 * 3600},
}
# Operations per second by device and use of bf16; rough, since only intervals depend on them.
SPEEDS = {
    ("cpu", False): 1e11,
    ("cpu", True): 4e11,
    ("mps", False): 1.5e12,
    ("cuda", False): 4e12,
    ("cuda", True): 2e13,
}
PER_CALL = {"iterations", "minutes", "until", "device", "checkpointing"}  # not fixed by a run

Values = dict[str, Any]


def with_preset(
    options: TrainOptions, run: Path, identities: Sequence[str], count_crops: Callable[[], int], events: EventCallback
) -> TrainOptions:
    """Fill the options by their preset; without one, choose the batch size of a new run on a CPU.

    Fields in `model_fields_set`, also of nested options, count as given. An existing run keeps its options regardless
    of the memory available now; `count_crops` is only called for a new run.

    Raises:
        ConfigError: no choice of the preset fits into memory, or an option is wrong.
        RunError: the run, or the one to start from, has another format or is not a run.
    """
    if options.preset is None:
        return with_batch(options, run, len(identities))
    if (run / RECORD).exists():
        known = RunRecord.read(run).options
        filled, since = from_run(options, known), ", as when this run began"
        if known.preset != options.preset:
            return filled  # refused later, as another training
    else:
        compute = select_device(options.device)
        events(Note(STEP, f"preset {options.preset}: searching for settings that fit into memory"))
        filled, since = resolve(options, identities, count_crops(), compute, available_memory(compute.device)), ""
    added = " ".join(added_flags(given(options), given(filled)))
    events(Note(STEP, f"preset {options.preset}{since}: {added or 'all options were given'}"))
    if filled.minutes is not None:
        limit = "at most " if filled.until == "plateau" else ""
        events(Note(STEP, f"preset {options.preset} trains {limit}{duration(60 * filled.minutes)} on this machine"))
    return filled


def with_batch(options: TrainOptions, run: Path, identities: int) -> TrainOptions:
    """Set the batch size to that of the run or the device's default, unless given."""
    if "batch" in options.model_fields_set:
        return options
    if (run / RECORD).exists():
        batch = RunRecord.read(run).options.batch
    elif select_device(options.device).device.type == "cpu":
        batch = max(CPU_BATCH, 2 * identities)
    else:
        return options
    return options.model_copy(update={"batch": batch})


def from_run(options: TrainOptions, known: TrainOptions) -> TrainOptions:
    """Fill the options from those of an existing run."""
    low, own = known.model_dump(exclude_defaults=True, exclude=PER_CALL), given(options)
    if own.get("model", known.model) != known.model:
        low.pop("settings", None)  # they belong to another network
    return TrainOptions.parse(merged(low, own), f"preset {options.preset}")


def resolve(
    options: TrainOptions, identities: Sequence[str], crops: int, compute: Compute, room: int | None
) -> TrainOptions:
    """Fill the options of a new run by their preset.

    `crops` is the number of crops of all identities together, `room` the available bytes or None if unknown; the device
    of `compute` need not be available.

    Raises:
        ConfigError: no choice of the preset fits, or an option is wrong.
    """
    preset, kind, where = options.preset or "standard", compute.device.type, f"preset {options.preset}"
    low = dict(SETTINGS[preset])
    if options.iterations is None and options.minutes is None:
        low["minutes"] = MINUTES[preset][0 if kind == "cuda" else 1]
    smallest, largest = 2 * len(identities), CAUTIOUS_BATCH if kind == "cpu" or room is None else BATCHES[0]
    if kind == "cpu" and preset == "draft":
        largest = CPU_BATCH
    batches = [batch for batch in BATCHES if smallest <= batch <= largest] or [smallest]
    if "batch" in options.model_fields_set:
        batches = [options.batch]
    candidates = [
        TrainOptions.parse(merged(low, network, {"batch": batch}, given(options)), where)
        for network in networks(options, preset, kind)
        for batch in batches
    ]
    chosen = candidates[0] if len(candidates) == 1 else fitting(candidates, identities, crops, compute, room)
    seconds = expected_seconds(chosen, identities, compute)
    intervals = {name: rounded(interval / seconds) for name, interval in INTERVALS_S[preset].items()}
    return TrainOptions.parse(merged(intervals, given(chosen)), where)


def networks(options: TrainOptions, preset: PresetName, kind: str) -> list[Values]:
    """Models and settings that a preset may choose, best first."""
    if isinstance(options.start, Path):
        record = read_record(options.start)
        if "model" not in options.model_fields_set or options.model == record.architecture:
            return [{"model": record.architecture, "settings": record.config}]
    model = options.model if "model" in options.model_fields_set else MODELS[preset][0 if kind == "cuda" else 1]
    configure(model, options.settings)
    choices = ARCHITECTURES[model].presets(kind)
    if "size" in options.settings:  # with the settings that the network declares for that size
        size = configure(model, options.settings).size
        choices = [each for each in choices if each.get("size") == size] or [{}]
    elif preset == "draft":
        choices = choices[-1:]
    return [{"model": model, "settings": each} for each in choices]


def fitting(
    candidates: Sequence[TrainOptions], identities: Sequence[str], crops: int, compute: Compute, room: int | None
) -> TrainOptions:
    """The first candidate that fits into memory."""
    needed = 0
    for options in candidates:
        if room is None or upper_bound(options, identities, compute, crops) < MEMORY_SHARE * room:
            return options
        needed = estimate_memory(options, identities, compute, crops)
        if needed <= MEMORY_SHARE * room:
            return options
    last = candidates[-1]
    share = round(MEMORY_SHARE * (room or 0))
    raise ConfigError(
        f"preset {last.preset}: {last.model} of {configure(last.model, last.settings).size} px with --batch "
        f"{last.batch} takes about {needed / GIB:.1f} GiB, more than {MEMORY_SHARE:.0%} of the "
        f"{(room or 0) / GIB:.1f} GiB available; "
        + advice(last, remedies(last, identities, compute, crops, needed, share))
    )


def expected_seconds(options: TrainOptions, identities: Sequence[str], compute: Compute) -> float:
    """Rough duration per iteration, from the operations of the forward pass; the backward pass takes twice as many."""
    with torch.device("meta"):
        network = create(options.model, tuple(identities), **options.settings)
        faces = torch.zeros(1, 3, network.size, network.size)
    from torch.utils.flop_counter import FlopCounterMode  # slow to import

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(faces, identities[0])
    return 3 * options.batch * counter.get_total_flops() / SPEEDS[compute.device.type, compute.autocast is not None]


def rounded(number: float) -> int:
    """Round down to 1, 2 or 5 times a power of ten, at least 10.

    >>> [rounded(number) for number in (3.0, 10, 739.9, 12_345)]
    [10, 10, 500, 10000]
    """
    steps = [lead * 10**zeros for zeros in range(1, 7) for lead in (1, 2, 5)]
    return max([10, *(step for step in steps if step <= number)])


def given(options: TrainOptions) -> Values:
    """The fields that were given, also of nested options, as plain values."""
    return options.model_dump(exclude_unset=True)


def merged(*layers: Mapping[str, Any]) -> Values:
    """Merge values, later ones taking precedence; tables are merged recursively.

    >>> merged({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 4}})
    {'a': 1, 'b': {'c': 2, 'd': 4}}
    """
    found: Values = {}
    for layer in layers:
        for name, value in layer.items():
            below: Any = found.get(name)
            found[name] = merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return found


def added_flags(before: Values, after: Values) -> list[str]:
    """Options in `after` that are not in `before`, as on the command line.

    >>> added_flags({"batch": 8}, {"batch": 8, "losses": {"gan": 0.1}, "augmentation": {"warp_grids": (3, 9)}})
    ['--losses.gan 0.1', '--augmentation.warp-grids 3', '--augmentation.warp-grids 9']
    """
    known, flags = by_flag(before), list[str]()
    for flag, value in by_flag(after).items():
        if flag in known:
            continue
        if isinstance(value, bool):
            table, dot, name = flag.removeprefix("--").rpartition(".")
            flags.append(f"--{table}{dot}{'' if value else 'no-'}{name}")
        else:
            several = isinstance(value, tuple) and not flag.startswith("--settings.")  # those are written as one value
            flags += [f"{flag} {plain(each)}" for each in (value if several else [value])]  # pyright: ignore[reportUnknownVariableType]
    return flags
