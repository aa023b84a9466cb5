"""Presets: a whole training from one word, the device and its memory.

A preset fills only what was not given, so that any option may be given beside it. What it fills is decided once, when a
run begins, and kept in the run's record. Which sizes and settings of a network are tried, the network says
(`Swapper.presets`); batches are tried from large to small, and the first combination that takes four fifths of the
memory at most is used.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from visagist.core.device import Compute, available, choose
from visagist.core.errors import ConfigError
from visagist.core.events import EventCallback, Note
from visagist.models import ARCHITECTURES, configure, create
from visagist.models.bundle import read_record
from visagist.training.config import PresetName, TrainOptions, plain
from visagist.training.memory import GIB, estimate_memory, upper_bound
from visagist.training.run import RECORD, STEP, RunRecord

# More arithmetic per face pays on a GPU. On a CPU `visage` takes a thirteenth of df's, at twenty times the learning
# rate.
MODELS: dict[PresetName, tuple[str, str]] = {  # on CUDA, and elsewhere
    "draft": ("visage", "visage"),
    "standard": ("df", "visage"),
    "final": ("df", "visage"),
}
BATCHES = (32, 16, 8, 4)
USUAL_BATCH = 8  # the largest on a CPU, where steps count for more, and if the memory is unknown
ROOM = 0.8  # part of the available memory that a training may take

# A long training may meet every face of a small faceset a thousand times: warps of three grids keep it from learning
# them by heart. Two subjects are hardly ever lit alike, so half of the faces are seen in the other's colours.
LONG = {"augmentation": {"warp_grids": (3, 5, 9), "color_transfer": "rct", "color_transfer_chance": 0.5}}
SETTINGS: dict[PresetName, dict[str, Any]] = {
    "draft": {"backups": 0},
    "standard": {**LONG, "backups": 3},
    "final": {**LONG, "losses": {"focal_frequency": 50.0, "gan": 0.1}, "schedule": {"cool_down": 0.2}, "backups": 4},
}
# On CUDA and elsewhere: an afternoon or a night, a night or a weekend. With `--until plateau` they are the latest end.
MINUTES: dict[PresetName, tuple[float, float]] = {"draft": (10, 10), "standard": (240, 480), "final": (720, 2880)}
# Seconds between checkpoints, previews and backups: a checkpoint of `df` is 1.3 GB, and backups stay.
EVERY: dict[PresetName, tuple[float, float, float]] = {
    "draft": (60, 60, 600),
    "standard": (300, 600, 3600),
    "final": (300, 1200, 3 * 3600),
}
# Operations per second of a training, by device and whether it computes in bf16. Rough: only EVERY depends on it.
SPEEDS = {
    ("cpu", False): 1e11,
    ("cpu", True): 4e11,
    ("mps", False): 1.5e12,
    ("cuda", False): 4e12,
    ("cuda", True): 2e13,
}
# What a preset may fill besides the length, which a run keeps of itself; parts of nested settings by name.
FILLED: dict[str, tuple[str, ...]] = {
    "model": (),
    "settings": (),
    "batch": (),
    "losses": ("focal_frequency", "gan"),
    "augmentation": ("warp_grids", "color_transfer", "color_transfer_chance"),
    "schedule": ("cool_down",),
    "save_every": (),
    "preview_every": (),
    "backup_every": (),
    "backups": (),
}

Values = dict[str, Any]


def with_preset(
    options: TrainOptions, run: Path, identities: Sequence[str], count_crops: Callable[[], int], events: EventCallback
) -> TrainOptions:
    """The options, filled by their preset; the same ones if they name none.

    Args:
        options: only those in `model_fields_set` count as given, nested ones too.
        run: folder of the run; an existing one keeps what it was started with, whatever memory there is now.
        identities: names.
        count_crops: counts those of all identities together; called only for a new run.
        events: callback.

    Raises:
        ConfigError: nothing that the preset may choose fits into memory, or an option is wrong.
        RunError: the run, or the one to start from, is of another format, or is none.
    """
    if options.preset is None:
        return options
    if (run / RECORD).exists():
        known = RunRecord.read(run).options
        filled, since = from_run(options, known), ", as this run was started"
        if known.preset != options.preset:
            return filled  # which is refused later, as another training
    else:
        compute = choose(options.device)
        events(Note(STEP, f"preset {options.preset}: looking for what fits into memory"))
        filled, since = resolve(options, identities, count_crops(), compute, available(compute.device)), ""
    said = " ".join(difference(given(options), given(filled)))
    events(Note(STEP, f"preset {options.preset}{since}: {said or 'everything was given'}"))
    return filled


def resolve(
    options: TrainOptions, identities: Sequence[str], crops: int, compute: Compute, room: int | None
) -> TrainOptions:
    """The options of a new run, filled by their preset.

    Args:
        options: with a preset.
        identities: names.
        crops: of all identities together.
        compute: device and precision; the device need not be available.
        room: bytes of memory, None if unknown.

    Raises:
        ConfigError: nothing that the preset may choose fits, or an option is wrong.
    """
    own, preset, kind = given(options), options.preset or "standard", compute.device.type
    low = dict(SETTINGS[preset])
    if options.iterations is None and options.minutes is None:
        low["minutes"] = MINUTES[preset][0 if kind == "cuda" else 1]
    batches = [n for n in BATCHES if n >= 2 * len(identities) and (n <= USUAL_BATCH or kind != "cpu")]
    if "batch" in options.model_fields_set:
        batches = [options.batch]
    elif room is None:
        batches = [n for n in batches if n <= USUAL_BATCH]
    tries = [
        merged(low, network, {"batch": n}, own)
        for network in networks(options, preset, kind)
        for n in batches or [2 * len(identities)]
    ]
    candidates = [TrainOptions.parse(values, f"preset {preset}") for values in tries]
    chosen = candidates[0] if len(candidates) == 1 else fitting(candidates, identities, crops, compute, room)
    each = expected_seconds(chosen, identities, compute)
    every = dict(zip(("save_every", "preview_every", "backup_every"), EVERY[preset], strict=True))
    habits = {name: rounded(seconds / each) for name, seconds in every.items()}
    return TrainOptions.parse(merged(habits, given(chosen)), f"preset {preset}")


def networks(options: TrainOptions, preset: PresetName, kind: str) -> list[Values]:
    """Models with settings that a preset may choose, best first."""
    if options.start is not None:
        record = read_record(options.start)
        if "model" not in options.model_fields_set or options.model == record.architecture:
            return [{"model": record.architecture, "settings": record.config}]
    model = options.model if "model" in options.model_fields_set else MODELS[preset][0 if kind == "cuda" else 1]
    configure(model, options.settings)
    tried = ARCHITECTURES[model].presets(kind)
    if "size" in options.settings:  # then what goes with that size, where the preset has it
        size = configure(model, options.settings).size
        tried = [each for each in tried if each.get("size") == size] or [{}]
    elif preset == "draft":
        tried = tried[-1:]
    return [{"model": model, "settings": each} for each in tried]


def fitting(
    candidates: Sequence[TrainOptions], identities: Sequence[str], crops: int, compute: Compute, room: int | None
) -> TrainOptions:
    """The first of some options whose training fits.

    Raises:
        ConfigError: none does.
    """
    needed = 0
    for options in candidates:
        if room is None or upper_bound(options, identities, compute, crops) < ROOM * room:
            return options
        needed = estimate_memory(options, identities, compute, crops)
        if needed <= ROOM * room:
            return options
    least = candidates[-1]
    raise ConfigError(
        f"preset {least.preset}: {least.model} of {configure(least.model, least.settings).size} px with --batch "
        f"{least.batch} takes about {needed / GIB:.1f} GiB, more than {ROOM:.0%} of the {(room or 0) / GIB:.1f} GiB "
        "available; give --model visage, a smaller --settings.size, or --checkpointing"
    )


def from_run(options: TrainOptions, known: TrainOptions) -> TrainOptions:
    """The options, filled from those that a run was started with, except the length, which it keeps of itself.

    Raises:
        ConfigError: an option is wrong.
    """
    dump = known.model_dump()
    low: Values = {
        name: {part: dump[name][part] for part in parts} if parts else dump[name] for name, parts in FILLED.items()
    }
    own = given(options)
    if own.get("model", known.model) != known.model:
        del low["settings"]  # they are another network's
    return TrainOptions.parse(merged(low, own), f"preset {options.preset}")


def expected_seconds(options: TrainOptions, identities: Sequence[str], compute: Compute) -> float:
    """Roughly how long an iteration takes: its arithmetic, backwards twice as much, by the device."""
    with torch.device("meta"):
        network = create(options.model, tuple(identities), **options.settings)
        faces = torch.zeros(1, 3, network.size, network.size)
    from torch.utils.flop_counter import FlopCounterMode  # slow to import

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(faces, identities[0])
    return 3 * options.batch * counter.get_total_flops() / SPEEDS[compute.device.type, compute.autocast is not None]


def rounded(number: float) -> int:
    """The next 1, 2 or 5 with zeros below, at least 10.

    >>> [rounded(number) for number in (3.0, 10, 739.9, 12_345)]
    [10, 10, 500, 10000]
    """
    steps = [lead * 10**zeros for zeros in range(1, 7) for lead in (1, 2, 5)]
    return max([10, *(step for step in steps if step <= number)])


def given(options: TrainOptions) -> Values:
    """What was given of some options, nested settings too, as plain values."""
    return options.model_dump(exclude_unset=True)


def merged(*layers: Mapping[str, Any]) -> Values:
    """Values laid over each other, the last on top; tables are merged, not replaced.

    >>> merged({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 4}})
    {'a': 1, 'b': {'c': 2, 'd': 4}}
    """
    found: Values = {}
    for layer in layers:
        for name, value in layer.items():
            below: Any = found.get(name)
            found[name] = merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return found


def difference(before: Values, after: Values, prefix: str = "--") -> list[str]:
    """What `after` has that `before` has not, as on the command line.

    >>> difference({"batch": 8}, {"batch": 8, "losses": {"gan": 0.1}, "checkpointing": True})
    ['--losses.gan 0.1', '--checkpointing']
    >>> difference({}, {"settings": {"encoder": (96, 192, 320)}, "augmentation": {"warp_grids": (3, 9)}})
    ['--settings.encoder 96,192,320', '--augmentation.warp-grids 3', '--augmentation.warp-grids 9']
    """
    said: list[str] = []
    for name, value in after.items():
        option = f"{prefix}{name.replace('_', '-')}"
        if isinstance(value, dict):
            said += difference(before.get(name, {}), value, f"{prefix}{name}.")  # pyright: ignore[reportUnknownArgumentType]
        elif name in before:
            continue
        elif isinstance(value, bool):
            said.append(option if value else f"{prefix}no-{name.replace('_', '-')}")
        else:
            several = isinstance(value, tuple) and prefix != "--settings."  # those of a network are one text
            said += [f"{option} {plain(part)}" for part in (value if several else [value])]  # pyright: ignore[reportUnknownVariableType]
    return said
