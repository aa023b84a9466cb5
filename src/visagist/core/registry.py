"""Registries of interchangeable parts: one file each, extended by other distributions through entry points.

    # visagist/merging/color/__init__.py
    COLOR: Registry[ColorTransfer] = Registry("colour transfer", "visagist.merging.color", "visagist.color")

    # visagist/merging/color/reinhard.py
    @COLOR.register
    def reinhard(...): ...

Built-in parts are named after their file, third-party parts after their entry point. Listing the names imports
nothing; each part is imported on first use.
"""

import importlib
import importlib.util
import pkgutil
from collections.abc import Iterator
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import ValidatorFunctionWrapHandler, WrapValidator

from visagist.core.errors import ConfigError

T = TypeVar("T")
U = TypeVar("U")


class Registry(Generic[T]):
    """Parts by name.

    Args:
        kind: name of a part in messages, such as `colour transfer`.
        package: package whose modules are the built-in parts, except subpackages and private modules.
        group: entry-point group for third-party parts.
        besides: modules of the package that are not parts.
    """

    def __init__(self, kind: str, package: str, group: str, besides: tuple[str, ...] = ()) -> None:
        self.kind, self.package, self.group, self.besides = kind, package, group, besides
        self._loaded: dict[str, T] = {}

    def register(self, part: U, module: str | None = None, *, name: str | None = None) -> U:
        """Register a built-in part under its file's name; usable as a decorator.

        Without `name` this does nothing outside the registry's package, where the entry point names the part. Scripts
        and notebooks pass `name`.

        Args:
            part: the part.
            module: `__name__` of the file, for parts that are neither classes nor functions.
            name: name to use instead of the file's.

        >>> registry = Registry("number", "visagist.core", "example.numbers")
        >>> registry.register(7, name="seven")
        7
        >>> registry["seven"]
        7
        """
        package, _, file = (module or str(part.__module__)).rpartition(".") if name is None else ("", "", name)
        if name or package == self.package:
            self._loaded[file] = part  # pyright: ignore[reportArgumentType] - the decorator preserves the part's type
        return part

    @cached_property
    def built_in(self) -> tuple[str, ...]:
        """Names of the parts that ship with visagist."""
        spec = importlib.util.find_spec(self.package)
        found = pkgutil.iter_modules(spec.submodule_search_locations if spec else None)
        names = (module.name for module in found if not module.ispkg and not module.name.startswith("_"))
        return tuple(sorted(name for name in names if name not in self.besides))

    @cached_property
    def _added(self) -> dict[str, EntryPoint]:
        """Third-party entry points by name."""
        found: dict[str, EntryPoint] = {}
        for entry in sorted(entry_points(group=self.group)):
            known = found.get(entry.name)
            if known or entry.name in self.built_in:
                raise ConfigError(
                    f"two {self.kind}s are named '{entry.name}': {_origin(entry)} and "
                    f"{_origin(known) if known else 'a built-in one'}; uninstall one of the packages"
                )
            found[entry.name] = entry
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """All names, built-in parts first; imports nothing.

        Raises:
            ConfigError: two parts have the same name.
        """
        return tuple(dict.fromkeys((*self.built_in, *self._added, *self._loaded)))

    def __getitem__(self, name: str) -> T:
        """The part of that name, imported on first use.

        Raises:
            ConfigError: there is no such part, or it cannot be imported.
        """
        if name in self._loaded:
            return self._loaded[name]
        if name in self.built_in:
            importlib.import_module(f"{self.package}.{name}")
            if name not in self._loaded:
                raise ConfigError(f"{self.package}.{name} registers no {self.kind}; decorate it with `register`")
        elif name in self._added:
            entry = self._added[name]
            try:
                self._loaded[name] = entry.load()
            except (ImportError, AttributeError) as error:
                raise ConfigError(f"{self.kind} '{name}' ({_origin(entry)}) cannot be imported: {error}") from error
        else:
            raise ConfigError(f"no {self.kind} '{name}' (available: {', '.join(self.names)})")
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def items(self) -> Iterator[tuple[str, T]]:
        """All parts with their names; imports all of them."""
        return ((name, self[name]) for name in self.names)

    @property
    def choice(self) -> Any:
        """`Literal` of all names, to annotate settings; help, validation and schema follow the registry.

        Parts registered later, as in a notebook, are accepted but not listed.
        """

        def check(value: object, literal: ValidatorFunctionWrapHandler) -> object:
            return value if isinstance(value, str) and value in self._loaded else literal(value)

        return Annotated[Literal[self.names], WrapValidator(check)]


def _origin(entry: EntryPoint) -> str:
    return f"{entry.value} of {entry.dist.name}" if entry.dist else entry.value
