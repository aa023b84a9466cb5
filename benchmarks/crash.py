"""Kills and disk errors at chosen file operations: the next call must end like an unbroken one, and leave nothing.

    python -m benchmarks.crash [--minutes 60] [--only TEXT] [--fixed] [--output bench-output/crash]

Commands run on clips of eight frames. Of every kind of file that a command writes, the first, middle and last operation
is hit: before a file is opened, when half of it or all of it is written, flushed, renamed or deleted. After a kill,
nothing unsigned may lie outside the workspace; after an error, one line must say so. Then the command is repeated
without a fault, and everything is compared with what it writes when nothing goes wrong. Results are kept in
`results.jsonl` in the output folder, and a later call continues; for another version of the code, use another folder.
"""

import argparse
import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from benchmarks.faults import Point, Watch, kind_of, shorten
from benchmarks.measure import records
from visagist.core.files import is_temporary
from visagist.core.read import read_table
from visagist.demo import SOURCE, TARGET
from visagist.provenance import EMBEDS, SIDECARS, verify

FRAMES = 8  # the fewest that a training accepts
CLIP = sorted(SOURCE.glob("*.mpg"))[0]
TIMEOUT_S = 300
SMALL = ("--model", "quick", "--settings.size", "64", "--settings.encoder", "32,48,64", "--settings.decoder",
         "64,48,32,16")  # fmt: skip
LENGTH = ("--iterations", "6", "--save-every", "2", "--preview-every", "3", "--batch", "4")
CONSENTS = ("--source-consent", "source.toml", "--target-consent", "target.toml")
MERGE = ("merge", "target.mp4", "--run", "run", *CONSENTS, "-o")


@dataclass(frozen=True)
class Step:
    """A command, and the one that must have run before it."""

    name: str
    arguments: tuple[str, ...]
    needs: str = ""


STEPS = [
    Step("extract", ("extract", "source.mp4", "-o", "source")),
    Step("extract png", ("extract", "target.mp4", "-o", "target", "--format", "png"), "extract"),
    Step("train", ("train", "source", "target", "-o", "run", *LENGTH, *SMALL), "extract png"),
    Step("merge mp4", (*MERGE, "out.mp4", "--matte", "matte"), "train"),
    Step("merge mkv", (*MERGE, "out.mkv"), "train"),
    Step("merge png", (*MERGE, "out"), "train"),
    Step("preview", (*MERGE, "look.png", "--preview", "1,4"), "merge mp4"),
    Step("evaluate", ("evaluate", "out.mp4", "--target", "target.mp4", "--source", "source", "--run", "run",
                      "--report", "report.html"), "merge mp4"),
    Step("swap", ("swap", "source.mp4", "target.mp4", "-o", "swap.mp4", *CONSENTS, *LENGTH, *SMALL)),
]  # fmt: skip

# Kinds of points that the tests hit, in at most a minute: one of each mechanism.
FIXED = [
    ("extract", Point("fsync", "source/tables/.source.mpN.parts/N.parquet", 2, "torn", "kill")),
    ("extract", Point("rename", "source/HASH_N_N.jpg", 4, "after", "kill")),
    ("train", Point("fsync", "run/weights.safetensors", 1, "torn", "kill")),
    ("train", Point("rename", "run/checkpoints/N.safetensors", 7, "after", "kill")),
    ("merge mp4", Point("fsync", "out.mpN.workspace/merge/HASH/HASH/chunk-N.nut", 1, "torn", "kill")),
    ("merge mp4", Point("rename", "out.mpN.workspace/merge/HASH/HASH/chunk-N.nut", 1, "after", "kill")),
    ("merge mp4", Point("rename", "out.mpN", 0, "before", "kill")),
    ("merge mp4", Point("fsync", "out.mpN.json", 0, "torn", "kill")),
    ("train", Point("fsync", "run/checkpoints/N.safetensors", 2, "before", "ENOSPC")),
    ("merge mp4", Point("fsync", "out.mpN.workspace/merge/HASH/HASH/chunk-N.nut", 1, "before", "EIO")),
]


@dataclass(frozen=True)
class Ended:
    """A finished command."""

    code: int  # negative: the signal that killed it
    output: str


class Lab:
    """A folder in which commands are broken, and copies of its states between commands."""

    def __init__(self, output: Path) -> None:
        self.output = output.resolve()
        self.work, self.states = self.output / "work", self.output / "states"
        self.config, self.temporary = self.output / "config", self.output / "tmp"
        self.expected: dict[str, dict[str, str]] = {}
        self.usual = set[str]()  # what libraries leave in the folder for temporary files, killed or not
        for folder in (self.output, self.states, self.config, self.temporary):
            folder.mkdir(parents=True, exist_ok=True)
        os.environ |= {"VISAGIST_CONFIG_DIR": str(self.config), "TMPDIR": str(self.temporary), "NO_COLOR": "1"}

    def begin(self) -> None:
        """Write the inputs."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        clips = {self.work / "source.mp4": CLIP, self.work / "target.mp4": TARGET}
        for path, clip in clips.items():
            assert forked(lambda path=path, clip=clip: cut(clip, path), None, self.work) == 0
        assert forked(lambda: not records(self.work, *clips), None, self.work) == 0
        self.keep("")

    def keep(self, step: str) -> None:
        shutil.rmtree(self.states / (step or "inputs"), ignore_errors=True)
        shutil.copytree(self.work, self.states / (step or "inputs"))

    def restore(self, step: str) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.rmtree(self.temporary, ignore_errors=True)
        self.temporary.mkdir()
        shutil.copytree(self.states / (step or "inputs"), self.work)

    def call(self, step: Step, watch: Watch | None = None) -> Ended:
        """Run a command in a fork of this process, which has imported everything but computed nothing."""
        log = self.output / "output.txt"
        code = forked(lambda: (watch and watch.install(), command_line(step.arguments))[1], log, self.work)
        return Ended(code, log.read_text(errors="replace"))

    def found(self, before: dict[str, str] | None = None) -> dict[str, Any]:
        """What lies in the folders; see `contents`."""
        result = self.output / "found.json"
        code = forked(lambda: result.write_text(json.dumps(contents(self, before))) and 0, None, self.work)
        assert code == 0, "contents could not be read"
        return json.loads(result.read_text())

    def record(self, step: Step) -> list[Point]:
        """Run a command without a fault; returns all points at which it can be broken."""
        log = self.output / "operations.jsonl"
        log.unlink(missing_ok=True)
        self.restore(step.needs)
        ended = self.call(step, Watch(self.work, log))
        assert ended.code == 0, ended.output
        self.keep(step.name)
        self.expected[step.name] = self.found()["files"]
        return points([json.loads(line) for line in log.read_text().splitlines()])

    def check(self, step: Step, point: Point, broken: Callable[[], Ended]) -> list[str]:
        """Break a command at a point and repeat it; returns what is wrong."""
        self.restore(step.needs)
        before = {str(path.relative_to(self.work)): "" for path in self.work.rglob("*")}
        ended, wrong = broken(), list[str]()
        if point.fault == "kill":
            if ended.code != -signal.SIGKILL:
                return ["not reached"] if ended.code == 0 else [f"code {ended.code}: {ended.output[-500:]}"]
            wrong += [f"unsigned outside the workspace: {name}" for name in self.found(before)["unsigned"]]
        elif ended.code not in (0, 1) or "Traceback" in ended.output:
            wrong.append(f"code {ended.code}: {ended.output[-500:]}")
        elif point.fault in ("ENOSPC", "EIO"):
            wrong += [f"left after the error: {name}" for name in self.found()["temporary"] if name not in self.usual]
        again = self.call(step)
        if again.code != 0:
            return [*wrong, f"repeated: code {again.code}: {again.output[-500:]}"]
        found, expected = self.found(), self.expected[step.name]
        wrong += [f"left: {name}" for name in found["temporary"] if name not in self.usual]
        names = sorted(expected.keys() | found["files"].keys())
        return wrong + [f"differs: {name}" for name in names if expected.get(name) != found["files"].get(name)]


def cut(clip: Path, output: Path) -> int:
    """Write the first frames of a clip; 0 for success."""
    with av.open(str(clip)) as given, av.open(str(output), "w") as taken:
        stream = taken.add_stream("libx264", rate=25, options={"crf": "12", "x264-params": "mbtree=0"})
        for number, frame in zip(range(FRAMES), given.decode(video=0), strict=False):
            if number == 0:
                stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuv420p"
            frame.pts, frame.time_base = number, Fraction(1, 25)
            taken.mux(stream.encode(frame))
        taken.mux(stream.encode(None))
    return 0


def forked(work: Callable[[], int], log: Path | None, folder: Path) -> int:
    """Exit code of a function in a fork of this process, negative if a signal has killed it."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 99
        try:
            os.chdir(folder)
            if log is not None:
                handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                os.dup2(handle, 1)
                os.dup2(handle, 2)
            code = work()
        except BaseException:  # noqa: BLE001 - the fork must end here
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    ends = time.monotonic() + TIMEOUT_S
    while time.monotonic() < ends:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return 98


def command_line(arguments: Sequence[str]) -> int:
    from visagist.cli.app import main as visagist

    shorten()
    return visagist(arguments)


def contents(lab: Lab, before: dict[str, str] | None) -> dict[str, Any]:
    """Digests of files by name, names of temporary files, and of pictures outside the workspace that are not signed."""
    files, temporary, unsigned = dict[str, str](), list[str](), list[str]()
    for path in sorted([*lab.work.rglob("*"), *lab.temporary.rglob("*"), *lab.config.rglob("*")]):
        inside = path.is_relative_to(lab.work)
        name = str(path.relative_to(lab.work if inside else lab.output))
        if is_temporary(path) or (not inside and lab.temporary in path.parents):
            temporary.append(name)
        elif inside and path.is_file() and path.suffix != ".lock":
            try:
                files[name] = digest(path)
            except (av.FFmpegError, OSError, ValueError):
                files[name] = "damaged"
        is_private = not inside or ".workspace/" in name
        if before is not None and path.is_file() and not is_private and name not in before:
            is_render = path.suffix in {**EMBEDS, **SIDECARS} and not name.startswith(("source/", "target/", "matte/"))
            # A torn copy of a signed file still states what it is.
            if is_render and path.stat().st_size and verify(path).verdict == "no evidence":
                unsigned.append(name)
    return {"files": files, "temporary": temporary, "unsigned": unsigned}


def digest(path: Path) -> str:
    """Hash of what must not depend on when or how often a command ran: not of signatures, times and dates of files."""
    suffix = path.suffix
    is_signed = "workspace" not in str(path) or path.parent.name == "previews"
    if path.name == "index.parquet":
        return str(read_table(path).column_names)
    if path.name == "events.jsonl":
        found = {}
        for line in path.read_text().splitlines():
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                if event.get("step") == "validation":
                    found[event["iteration"]] = event["values"]
        return json.dumps(found)
    if suffix in (".html", ".c2pa", ".pem"):
        return "present"
    if suffix == ".json":
        stated = json.loads(path.read_text())
        return json.dumps(without(stated, {"files", "matte", "fingerprint", "provenance"}), sort_keys=True)[:100_000]
    if suffix in (".mp4", ".mkv", ".mov") or (suffix == ".png" and is_signed):
        with av.open(str(path)) as container:
            pixels = hashlib.sha256()
            for frame in container.decode(video=0):
                pixels.update(f"{frame.pts} {frame.time_base}".encode())
                pixels.update(frame.to_ndarray().tobytes())
            return pixels.hexdigest()
    return hashlib.sha256(path.read_bytes()).hexdigest()


def without(value: Any, names: set[str]) -> Any:
    if isinstance(value, dict):
        return {name: without(each, names) for name, each in value.items() if name not in names}
    return [without(each, names) for each in value] if isinstance(value, list) else value


def chosen_numbers(count: int) -> list[int]:
    """First, middle and last."""
    return sorted({0, count // 2, count - 1})


def points(operations: list[tuple[str, str, bool]]) -> list[Point]:
    """All points of a command: kills everywhere, and in the middle the errors that a disk gives there.

    A kill after a flush is one before the rename that follows, and a kill before a folder is flushed is one after it.
    """
    found: list[Point] = []
    phases = {"open": ("before",), "fsync": ("torn", "before"), "rename": ("before", "after"),
              "unlink": ("before", "after")}  # fmt: skip
    errors = {"open": ("ENOSPC",), "fsync": ("ENOSPC", "EIO"), "rename": ("EIO",)}
    folders = {kind for _, kind, is_folder in operations if is_folder}
    for (operation, kind), count in Counter((operation, kind) for operation, kind, _ in operations).items():
        for number in chosen_numbers(count):
            for phase in ("after",) if kind in folders and operation == "fsync" else phases[operation]:
                found.append(Point(operation, kind, number, phase, "kill"))
        found.extend(Point(operation, kind, count // 2, "before", error) for error in errors.get(operation, ()))
    return found


def canonical(kind: str) -> str:
    """A kind of file without the names of inputs and outputs: commands that share a mechanism share its points.

    >>> canonical("out.mpN.workspace/tables/.target.mpN.parts/N.parquet"), canonical("out.mkv")
    ('NAME/tables/.NAME.parts/N.parquet', 'NAME.mkv')
    """
    *folders, name = kind.split("/")
    known = "(source|target|out|swap|look|report)"
    return "/".join([*(re.sub(rf"{known}(\.mpN|\.mkv)?(\.workspace)?", "NAME", each) for each in folders),
                     re.sub(known, "NAME", name)])  # fmt: skip


class Strace:
    """Faults in the system calls of libraries that write files themselves: FFmpeg, Arrow, safetensors, c2pa."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    @staticmethod
    def missing() -> str | None:
        """Why it cannot be used."""
        if shutil.which("strace") is None:
            return "strace is not installed"
        tried = subprocess.run(["strace", "-f", "true"], capture_output=True, check=False)
        return None if tried.returncode == 0 else "strace may not trace here"

    def call(self, step: Step, *options: str) -> Ended:
        command = [sys.executable, "-m", "benchmarks.faults", *step.arguments]
        paths = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(
            ["strace", "-f", "-qq", *options, *command], capture_output=True, text=True, errors="replace",
            cwd=self.lab.work, env={**os.environ, "PYTHONPATH": paths}, timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
        return Ended(done.returncode, done.stderr)

    def record(self, step: Step) -> dict[str, tuple[Path, int]]:
        """By kind of file: one that is written, and the number of its writes."""
        log = self.lab.output / "strace.txt"
        self.lab.restore(step.needs)
        ended = self.call(step, "-y", "-e", "trace=write,pwrite64,writev", "-e", "signal=none", "-o", str(log))
        assert ended.code == 0, ended.output
        self.lab.usual |= set(self.lab.found()["temporary"])
        counts = Counter[Path]()
        for line in log.read_text(errors="replace").splitlines():
            if "<" in line and (path := Path(line.split("<", 1)[1].split(">", 1)[0])).is_relative_to(self.lab.work):
                counts[path] += 1
        kinds: dict[str, tuple[Path, int]] = {}
        for path, count in counts.items():
            if path.suffix != ".lock" and not path.name.startswith(".tmp"):  # safetensors' names differ every time
                kinds.setdefault(kind_of(path, self.lab.work), (path, count))
        return kinds

    def points(self, step: Step) -> Iterator[tuple[Point, Callable[[], Ended]]]:
        for kind, (path, count) in self.record(step).items():
            for number in chosen_numbers(count):
                for fault, inject in (("kill", "signal=SIGKILL"), ("ENOSPC", "error=ENOSPC"), ("EIO", "error=EIO")):
                    when = f"{number + 1}+" if fault == "ENOSPC" else str(number + 1)
                    options = ("-P", str(path), "-e", "trace=write,pwrite64,writev", "-o", "/dev/null")
                    injected = ("-e", f"inject=write,pwrite64,writev:{inject}:when={when}")
                    point = Point("write", kind, number, "before", fault)
                    yield point, lambda o=(*options, *injected): self.call(step, *o)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60, help="stop after this time; a later call continues")
    parser.add_argument("--only", default="", help="only points whose description contains this text")
    parser.add_argument("--fixed", action="store_true", help="only the few points of the tests")
    parser.add_argument("--output", type=Path, default=Path("bench-output/crash"))
    chosen = parser.parse_args(arguments)
    if sys.platform != "linux":
        print("crash: needs Linux (/proc and strace)", file=sys.stderr)
        return 2
    ends, lab = time.monotonic() + 60 * chosen.minutes, Lab(chosen.output)
    results = lab.output / "results.jsonl"
    known = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    done = {entry["point"] for entry in known}

    def run(step: Step, point: Point, broken: Callable[[], Ended]) -> bool:
        """False when the time is over."""
        name = f"{step.name}: {point}"
        if name in done or chosen.only not in name:
            return True
        if time.monotonic() > ends:
            return False
        wrong = lab.check(step, point, broken)
        done.add(name)
        known.append({"point": name, "step": step.name, **asdict(point), "wrong": wrong})
        with results.open("a") as file:
            file.write(json.dumps(known[-1]) + "\n")
        print(f"{name}: {'; '.join(wrong) or 'recovered'}", flush=True)
        return True

    seen: dict[tuple[str, str], str] = {}  # operations on kinds of files by the first step that has them

    def all_points() -> Iterator[tuple[Step, Point, Callable[[], Ended]]]:
        for step in STEPS:
            if chosen.fixed and step.name not in {*(name for name, _ in FIXED), "extract png"}:
                continue
            found = lab.record(step)
            hit = [point for name, point in FIXED if name == step.name] if chosen.fixed else found
            if missing := [point for point in hit if point not in found]:
                raise SystemExit(f"crash: {step.name} has no {'; '.join(map(str, missing))}")
            for point in hit:
                known_kind = (point.operation, canonical(point.kind))
                if not chosen.fixed and seen.setdefault(known_kind, step.name) != step.name:
                    continue
                yield step, point, lambda step=step, point=point: lab.call(step, Watch(lab.work, None, point))
        if chosen.fixed:
            return
        if why := Strace.missing():
            print(f"crash: writes of FFmpeg and Arrow are skipped: {why}", file=sys.stderr)
            return
        strace = Strace(lab)
        for step in STEPS[:-1]:
            for point, broken in strace.points(step):
                if seen.setdefault((point.operation, canonical(point.kind)), step.name) == step.name:
                    yield step, point, broken

    lab.begin()
    whole = all(run(*each) for each in all_points())
    counts = Counter("not reached" if entry["wrong"] == ["not reached"] else "wrong" if entry["wrong"] else "recovered"
                     for entry in known)  # fmt: skip
    print(f"crash: {len(known)} points: {dict(counts)}{'' if whole else '; not finished, call again to continue'}")
    return 1 if counts["wrong"] else 0


if __name__ == "__main__":
    # Imported before the first fork, so that every command starts at once.
    import pyarrow.parquet  # noqa: F401

    import visagist.jobs.evaluate
    import visagist.jobs.merge
    import visagist.jobs.preview
    import visagist.jobs.swap
    import visagist.jobs.train  # noqa: F401

    sys.exit(main())
