"""Hostile inputs for every reader: mutations of real files must end in a result or in an error of our own.

    python -m benchmarks.fuzz [--inputs 100000] [--seed 0] [--workspace FOLDER]

Anything else is printed with the seed of its input, which repeats it, and the exit code is 1. Without a workspace of an
earlier swap, one is made from the bundled footage.
"""

import argparse
import contextlib
import io
import json
import os
import random
import resource
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from visagist.core.errors import VisagistError
from visagist.core.read import read_json, read_table, read_toml
from visagist.demo import SOURCE, SOURCE_CONSENT, TARGET, TARGET_CONSENT
from visagist.faces import FaceTable
from visagist.faceset.extraction import STATE as EXTRACTION
from visagist.faceset.extraction import Extraction
from visagist.faceset.record import read_crop, read_record
from visagist.jobs.output_paths import read_report
from visagist.jobs.swap import swap
from visagist.media import Reader, probe
from visagist.models import bundle
from visagist.provenance import load_consent, verify
from visagist.training import TrainOptions
from visagist.training.checkpoint import STATE, load_checkpoint, read_state
from visagist.training.run import EVENTS, RECORD, RunRecord, logged_validations

MAX_RSS_MB = 500  # growth of this process
MAX_INPUT = 200_000  # bytes; larger files are cut, as only their beginning is parsed
TOKENS = [
    *(b"[" * 2000, b'{"a":' * 500, b"9" * 5000, b"1e999", b"NaN", b"-1", b"null", b'""', b"\x00", b"\xff\xfe"),
    *(b"\x1b[2J", b"\\ud800", b"2147483648", b"1" + b"0" * 30, b"[]", b"{}", b"true", b"PAR1", b"../../etc/passwd"),
]
NUMBERS = [0, 1, 0x7F, 0x80, 0xFF]


def mutated(data: bytes, rng: random.Random) -> bytes:
    """A copy with a few bytes, ranges or tokens changed, or an end cut off."""
    found = bytearray(data[:MAX_INPUT])
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at, kind = rng.randrange(len(found) + 1), rng.randrange(7)
        if kind == 0 and found:
            found[at % len(found)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            found[at : at + rng.randrange(1, 40)] = rng.choice(TOKENS)
        elif kind == 2:
            found[at:at] = rng.choice(TOKENS)
        elif kind == 3:
            del found[at : at + rng.randrange(1, 400)]
        elif kind == 4:
            other = rng.randrange(len(found) + 1)
            found[at:at] = found[other : other + rng.randrange(1, 400)]
        elif kind == 5:
            found[at : at + 4] = bytes(rng.choice(NUMBERS) for _ in range(4))
        elif rng.random() < 0.3:
            del found[at:]
    return bytes(found)


def jsonish(data: bytes, rng: random.Random) -> bytes:
    """A JSON document with one value replaced by another type."""
    values = json.loads(data)
    place = values
    while isinstance(place, dict | list) and place:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = rng.choice(keys)
        if not isinstance(place[key], dict | list) or not place[key] or rng.random() < 0.3:
            place[key] = rng.choice([None, True, -1, 10**30, 1.5, "x", "\ud800", [], {}, [[1]], {"a": 1}])
            break
        place = place[key]
    return json.dumps(values).encode()


def frames(path: Path) -> None:
    with Reader(probe(path), last=1) as reader:
        list(reader)


def readers(workspace: Path) -> dict[str, tuple[Path, Callable[[Path], object]]]:
    """By name: a real file, and what reads it where it lies."""
    run, source = workspace / "run", workspace / "source"
    crop = sorted(source.glob("*.jpg"))[0]
    checkpoint = sorted((run / "checkpoints").glob("*.safetensors"))[-1]
    output = workspace.with_name(workspace.name.removesuffix(".workspace"))
    return {
        "consent": (SOURCE_CONSENT, load_consent),
        "config": (output.with_name(output.name + ".toml"), read_toml),
        "report": (output.with_name(output.name + ".json"), lambda path: read_report(path.with_suffix(""))),
        "extraction": (source / EXTRACTION, lambda path: Extraction.load(path.parent)),
        "crop": (crop, read_crop),
        "record": (crop, read_record),
        "index": (source / "index.parquet", read_table),
        "table": (sorted((workspace / "tables").glob("*.parquet"))[0], FaceTable.load),
        "run": (run / RECORD, lambda path: RunRecord.read(path.parent)),
        "state": (run / "checkpoints" / STATE, lambda path: read_state(path.parent)),
        "checkpoint": (checkpoint, lambda path: load_checkpoint(path.parent, int(path.stem))),
        "weights": (run / "weights.safetensors", lambda path: bundle.TrainedNetwork.open(path, "cpu")),
        "events": (run / EVENTS, lambda path: logged_validations(path.parent, 10**9)),
        "json": (source / EXTRACTION, read_json),
        "video": (TARGET, frames),
        "picture": (sorted((run / "previews").glob("*.png"))[0], frames),
        "credentials": (output, verify),
    }


def made_workspace(folder: Path) -> Path:
    """The workspace of a swap of a few iterations."""
    settings = {"size": 64, "encoder": (32, 48, 64), "decoder": (64, 48, 32, 16)}
    options = {"model": "quick", "settings": settings, "iterations": 4, "batch": 4, "preview_every": 4}
    swap(
        sorted(SOURCE.glob("*.mpg"))[0], TARGET, folder / "out.mp4", source_consent=SOURCE_CONSENT,
        target_consent=TARGET_CONSENT, training=TrainOptions.parse(options, "fuzz"),
    )  # fmt: skip
    return folder / "out.mp4.workspace"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0, help="number of the first input")
    parser.add_argument("--workspace", type=Path, help="of a swap, as in OUTPUT.workspace beside its output")
    chosen = parser.parse_args(arguments)
    faults, outcomes = Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory() as temporary:
        known = readers(chosen.workspace or made_workspace(Path(temporary)))
        originals = {name: path.read_bytes() for name, (path, _) in known.items()}
        names, before = sorted(known), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for number in range(chosen.seed, chosen.seed + chosen.inputs):
            rng, name = random.Random(number), names[number % len(names)]
            real, read = known[name]
            path = Path(temporary) / "fuzz" / real.name
            path.parent.mkdir(exist_ok=True)
            is_json = real.suffix == ".json" and rng.random() < 0.5
            path.write_bytes((jsonish if is_json else mutated)(originals[name], rng))
            try:
                with contextlib.redirect_stderr(io.StringIO()):
                    read(path)
                outcomes[f"{name}: read"] += 1
            except VisagistError:
                outcomes[f"{name}: refused"] += 1
            except Exception as error:  # noqa: BLE001 - what this program looks for
                place = traceback.extract_tb(error.__traceback__)
                own = next((f for f in reversed(place) if "visagist" in f.filename), place[-1])
                fault = f"{name}: {type(error).__name__} at {Path(own.filename).name}:{own.lineno}"
                if not faults[fault]:
                    print(f"input {number}: {fault}: {str(error)[:150]!r}", flush=True)
                faults[fault] += 1
            path.unlink(missing_ok=True)
            if number % 10_000 == 9_999:
                print(f"{number + 1 - chosen.seed} inputs, {sum(faults.values())} faults", flush=True)
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    for outcome, count in sorted(outcomes.items()):
        print(f"{outcome} {count}")
    print(f"{chosen.inputs} inputs, {sum(faults.values())} faults, memory grew by {growth:.0f} MB")
    return 1 if faults or growth > MAX_RSS_MB else 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
