"""What mkdocs adds to the pages of docs/ when it builds the site: command line, Python API, files of the repository.

Hooks of mkdocs.yml. `cli` and `api` are also called by the tests, without mkdocs.
"""

import inspect
import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import visagist
from visagist.cli.app import app
from visagist.core.errors import VisagistError
from visagist.training.losses import LossOptions

ROOT = Path(__file__).parents[1]
REPOSITORY_FILES = {
    "CONTRIBUTING.md": "contributing.md",
    "NOTICE": "notice.md",
}  # names on the site

GROUPS = {  # of the API page; names that are in none are under "Other functions and classes"
    "The steps of a swap": ("swap", "extract", "train", "pretrain", "preview", "merge", "evaluate", "verify"),
    "Options": ("ExtractOptions", "TrainOptions", "MergeOptions", "EncodeOptions", "EvaluateOptions", "AnalyzeOptions"),
    "Results": (
        "Faceset", "ExtractSummary", "Run", "TrainedNetwork", "Render", "Preview", "Evaluation", "Verification",
    ),
    "Consent and signers": (
        "Consent", "new_consent", "load_consent", "known_signers", "add_known_signer", "remove_known_signer",
    ),
    "Footage and faces": ("probe", "find_footage", "Footage", "Reader", "Frame", "analyze", "FaceTable"),
    "Events and errors": ("Event", "EventCallback", "silent", "VisagistError"),
}  # fmt: skip


def cli() -> str:
    """Every command with its options, as Markdown."""
    for name in app:
        if not name.startswith("-"):
            app[name].help = None  # the docstring in place of the line in the list of commands
    text = app.generate_docs(output_format="markdown", heading_level=1)
    text = re.sub(r"^(\* .*)((?:\n {4,}(?!\* ).*)+)", joined, text, flags=re.MULTILINE)
    return "## visagist " + text.split("\n## visagist ", 1)[1]


def joined(item: re.Match[str]) -> str:
    """An item of a list, with the wrapped lines of a docstring in one."""
    return item[1] + "".join(f" {line.strip()}" for line in item[2].splitlines() if line.strip())


def api() -> str:
    """Every public name and the public classes reachable from it, as directives for mkdocstrings."""
    grouped = {name for names in GROUPS.values() for name in names}
    groups = {**GROUPS, "Other functions and classes": [name for name in visagist.__all__ if name not in grouped]}
    parts: list[str] = []
    for title, names in groups.items():
        parts += [f"## {title}", *map(public, names)]
    parts += ["## Errors", "All are subclasses of [`VisagistError`][visagist.VisagistError]."]
    parts += [f"::: {qualified(each)}" for each in errors()]
    parts += ["## Classes of arguments, fields and results"]
    parts += [losses() if each is LossOptions else f"::: {qualified(each)}" for each in reachable()]
    return "\n\n".join(parts)


def public(name: str) -> str:
    """A public name, by the place of its definition: some share their name with a module."""
    found = getattr(visagist, name)
    if not isinstance(found, type) and not inspect.isfunction(found):  # a type alias
        return f"::: visagist.{name}"
    return f"[](){{ #visagist.{name} }}\n\n::: {qualified(found)}"


def qualified(kind: Any) -> str:
    """The full name of a class or function."""
    return f"{kind.__module__}.{kind.__qualname__}"


def losses() -> str:
    """`LossOptions`: the class in the source, and a field for each registered loss, which is in no source."""
    (base,) = LossOptions.__bases__
    fields = {name: field for name, field in LossOptions.model_fields.items() if name not in base.model_fields}
    rows = [
        f"| `{name}` | `{field.default!r}` | {' '.join((field.description or '').split())} |"
        for name, field in fields.items()
    ]
    directive = f"::: {qualified(base)}\n    options:\n      heading: LossOptions\n      toc_label: LossOptions"
    table = ["| weight | default | |", "|---|---|---|", *rows]
    return "\n".join([f"[](){{ #{qualified(LossOptions)} }}", "", directive, "", *table])


def errors() -> list[type]:
    """The subclasses of VisagistError, in the order of their definition."""
    found: list[type] = []
    waiting = [VisagistError]
    while waiting:
        kind = waiting.pop(0)
        found += [each for each in kind.__subclasses__() if each.__module__ == VisagistError.__module__]
        waiting += kind.__subclasses__()
    return found


def reachable() -> list[type]:
    """Public classes of visagist that signatures and fields of the public names mention, by name, without these."""
    public = [getattr(visagist, name) for name in visagist.__all__]
    found: set[type] = set()
    waiting: list[Any] = [*public]
    while waiting:
        for kind in mentioned(waiting.pop()):
            if kind not in found and kind.__module__.startswith("visagist.") and not kind.__name__.startswith("_"):
                found.add(kind)
                waiting.append(kind)
    known = {id(each) for each in public}
    left = [kind for kind in found if id(kind) not in known and not issubclass(kind, Exception)]
    return sorted(left, key=lambda kind: (kind.__name__.lower(), kind.__module__))


def mentioned(thing: Any) -> Iterator[type]:
    """Classes in the annotations of a function, or of the public fields, methods and properties of a class."""
    if not isinstance(thing, type):
        yield from classes(hints(thing) if inspect.isfunction(thing) else thing)
        return
    yield from classes({name: hint for name, hint in hints(thing).items() if not name.startswith("_")})
    for name, member in vars(thing).items():
        member = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        if inspect.isfunction(member) and (name == "__init__" or not name.startswith("_")):
            yield from classes(hints(member))


def hints(thing: Any) -> dict[str, Any]:
    """Annotations, or none where they name what only a type checker imports."""
    try:
        return get_type_hints(thing)
    except NameError:
        return {}


def classes(annotation: Any) -> Iterator[type]:
    """The classes in an annotation, or in a table of them."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        yield annotation
    parts = annotation.values() if isinstance(annotation, dict) else getattr(annotation, "__args__", ())
    for part in parts:
        yield from classes(part)


GENERATED = {"cli": cli, "api": api}


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Fill the generated blocks, and point links to repository files to their copies on the site."""
    for name, generate in GENERATED.items():
        block = re.search(rf"<!-- generated: {name} -->.*?<!-- end -->", markdown, re.DOTALL)
        if block:
            markdown = markdown.replace(block[0], generate())
    for name, target in REPOSITORY_FILES.items():
        markdown = re.sub(
            rf"\]\((?:\.\./)+{re.escape(name)}\)", f"]({'../' * page.file.src_uri.count('/')}{target})", markdown
        )
    return markdown


def on_files(files: Any, config: Any) -> Any:
    """Add the files of the repository that pages link to."""
    from mkdocs.structure.files import File, InclusionLevel

    for name, target in REPOSITORY_FILES.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        if not name.endswith(".md"):
            text = f"# {name}\n\n```text\n{text}\n```\n"
        files.append(File.generated(config, target, content=text, inclusion=InclusionLevel.NOT_IN_NAV))
    return files
