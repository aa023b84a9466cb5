"""False refusals of the likeness check: merges of honest runs, with consent records of everybody in the footage.

    OMP_NUM_THREADS=1 python -m benchmarks.research.likeness [--cases TEXT ...] [--keep FOLDER]

Prints the similarity of predicted faces to the source, the performer and the most similar other person. Finished cases
are not repeated. Needs the developers' footage.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np

from benchmarks.measure import SHARED
from benchmarks.quality import PAIRS, SEED, WOMAN, A, B, C
from visagist.core.errors import ConsentError
from visagist.demo import TARGET
from visagist.faceset import Faceset
from visagist.faceset.record import read_crop, write_crop
from visagist.jobs import likeness
from visagist.jobs.consent import new_consent
from visagist.jobs.extract import extract
from visagist.jobs.merge import merge
from visagist.jobs.train import train
from visagist.media import Reader, find_footage, write_picture
from visagist.merging import MergeOptions
from visagist.training import TrainOptions

PEOPLE = {"A": A, "B": B, "C": C, "woman": WOMAN, "sbia1a": TARGET}
BLUR = 3.0  # px, standard deviation of a Gaussian on a crop of 256 px
FRAMES = "0-31"


@dataclass(frozen=True)
class Case:
    """A run and what is merged from it."""

    pair: str
    iterations: int
    options: dict[str, Any] = field(default_factory=dict)
    merging: dict[str, Any] = field(default_factory=dict)
    others: tuple[str, ...] = ()
    is_blurred: bool = False


SETTINGS = {"size": 96, "latent": 128, "inter": 256, "encoder": 32, "decoder": 32}
AMP = {"model": "amp", "start": "none", "settings": SETTINGS}
CASES = {f"{pair}, {n} iterations": Case(pair, n) for pair in PAIRS for n in (300, 1000, 3000)} | {
    "C to A, source blurred": Case("C to A", 1000, is_blurred=True),
    "C to A and B to A by one run": Case("C to A", 1000, others=("B",)),
    "B of that run": Case("C to A", 1000, merging={"subject": "B"}, others=("B",)),
    "C to A, a small amp, morph 0.5": Case("C to A", 1000, AMP, {"morph": 0.5}),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=[""], help="cases whose name contains one of these texts")
    parser.add_argument("--keep", type=Path, default=Path("bench-output") / "likeness", help="output folder")
    chosen = parser.parse_args(arguments)
    if not SHARED.exists():
        print("likeness: skipped, the developers' footage is not here")
        return
    print("| case | source | performer | most similar other | result |\n|---|---|---|---|---|")
    for name, case in CASES.items():
        if any(text in name for text in chosen.cases):
            print(f"| {name} | {' | '.join(measure(name, case, chosen.keep))} |", flush=True)


def measure(name: str, case: Case, keep: Path) -> list[str]:
    """Cells of the table's row."""
    known = keep / f"{name}.json"
    if known.exists():
        return json.loads(known.read_text())
    source, target = (next(key for key, path in PEOPLE.items() if path == each) for each in PAIRS[case.pair])
    faces = {each: faceset(each, keep) for each in {source, target, *case.others}}
    if case.is_blurred:
        faces[source] = blurred(faces[source], keep / "faces" / f"{source}-blurred")
    asked = {"batch": 4, "seed": SEED, "preview_every": 10**6, "iterations": case.iterations, **case.options}
    run = keep / "runs" / "-".join([case.pair, *case.options, *case.others, str(case.is_blurred)])  # extended if longer
    others = {each: faces[each] for each in case.others}
    train(faces[source], faces[target], run, others=others, options=TrainOptions.parse(asked, "likeness"))
    shown = case.merging.get("subject", source)
    found: list[tuple[float, float, float]] = []
    with patch.object(likeness, "check_likeness", noted(likeness.check_likeness, found)):
        try:
            merge(
                PEOPLE[target],
                keep / f"{name}.mp4",
                run=run,
                source_consent=record(shown, keep),
                target_consent=record(target, keep),
                frames=FRAMES,
                options=MergeOptions.parse(case.merging, "likeness"),
            )
            result = "passed"
        except ConsentError as error:
            result = f"**refused**: {error}"
    cells = [*(f"{value:.2f}" for value in found[0]), result]
    known.write_text(json.dumps(cells))
    return cells


def noted(check: Callable[..., None], found: list[tuple[float, float, float]]) -> Callable[..., None]:
    """The check, which also appends the similarities to source, performer and the most similar other person."""

    def called(shown: Any, person: Any, others: Any, performer: Any, *more: Any) -> None:
        def cosine(one: Any, other: Any) -> float:
            return float(np.dot(one, other) / (np.linalg.norm(one) * np.linalg.norm(other)))

        own = [*person.values(), performer]
        strange = [each for each in others.values() if all(cosine(each, one) < likeness.SAME_PERSON for one in own)]
        best = max(cosine(shown, each) for each in person.values())
        found.append((best, cosine(shown, performer), max(cosine(shown, each) for each in strange)))
        check(shown, person, others, performer, *more)

    return called


def faceset(person: str, keep: Path) -> Path:
    extract(PEOPLE[person], keep / "faces" / person)
    return keep / "faces" / person


def blurred(faces: Path, output: Path) -> Path:
    """A copy of a faceset with blurred crops."""
    output.mkdir(exist_ok=True)
    for path in Faceset.open(faces).files:
        known, pixels = read_crop(path)
        write_crop(output / path.name, cv2.GaussianBlur(pixels, (0, 0), BLUR * pixels.shape[0] / 256), known)
    return output


def record(person: str, keep: Path) -> Path:
    """A consent record with a frame as its picture; all lie in one folder, so that every check sees everybody."""
    path = keep / "people" / f"{person}.toml"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        for each in PEOPLE:
            with Reader(find_footage(PEOPLE[each])[0], first=10, last=10) as reader:
                write_picture(picture := path.with_name(f"{each}.png"), next(iter(reader)).rgb())
            new_consent(
                path.with_name(f"{each}.toml"), name=each, adult=True, basis="research-corpus", statement="measured",
                scope="measuring", pictures=[picture],
            )  # fmt: skip
    return path


if __name__ == "__main__":
    main()
