"""Registries: parts of visagist by name, one file each, and those that other distributions add by entry points.

    # visagist/merging/color/__init__.py
    COLOR: Registry[ColorTransfer] = Registry("colour transfer", "visagist.merging.color", "visagist.color")

    # visagist/merging/color/reinhard.py
    @COLOR.register
    def reinhard(...): ...

A built-in part has the name of its file, a part of another distribution the name of its entry point. Listing names
imports nothing; a part is imported at its first use.
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
        kind: what a part is called in messages, such as `colour transfer`.
        package: package whose modules are the built-in parts; sub-packages and names with a leading underscore are not.
        group: entry-point group of other distributions.
        besides: modules of the package that are not parts.
    """

    def __init__(self, kind: str, package: str, group: str, besides: tuple[str, ...] = ()) -> None:
        self.kind, self.package, self.group, self.besides = kind, package, group, besides
        self._loaded: dict[str, T] = {}

    def register(self, part: U, module: str | None = None, *, name: str | None = None) -> U:
        """Add a built-in part under the name of its file; a decorator for classes and functions.

        Outside of the registry's package it does nothing, because there the entry point has the name; a part of a
        script or a notebook can be added with `name`.

        Args:
            part: the part.
            module: `__name__` of the file, for parts that are neither a class nor a function.
            name: a name other than that of the file.

        >>> registry = Registry("number", "visagist.core", "example.numbers")
        >>> registry.register(7, name="seven")
        7
        >>> registry["seven"]
        7
        """
        package, _, file = (module or str(part.__module__)).rpartition(".") if name is None else ("", "", name)
        if name or package == self.package:
            self._loaded[file] = part  # pyright: ignore[reportArgumentType] - the decorator keeps the part's own type
        return part

    @cached_property
    def built_in(self) -> tuple[str, ...]:
        """Names of the parts of visagist itself."""
        spec = importlib.util.find_spec(self.package)
        found = pkgutil.iter_modules(spec.submodule_search_locations if spec else None)
        names = (module.name for module in found if not module.ispkg and not module.name.startswith("_"))
        return tuple(sorted(name for name in names if name not in self.besides))

    @cached_property
    def _added(self) -> dict[str, EntryPoint]:
        """Entry points of other distributions by name.

        Raises:
            ConfigError: two distributions, or one and visagist, use the same name.
        """
        found: dict[str, EntryPoint] = {}
        for entry in sorted(entry_points(group=self.group)):
            known = found.get(entry.name)
            if known or entry.name in self.built_in:
                raise ConfigError(
                    f"two {self.kind}s are called '{entry.name}': {_origin(entry)} and "
                    f"{_origin(known) if known else 'one of visagist'}; uninstall one of the packages"
                )
            found[entry.name] = entry
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """All names, built-in parts first; nothing is imported."""
        return tuple(dict.fromkeys((*self.built_in, *self._added, *self._loaded)))

    def __getitem__(self, name: str) -> T:
        """A part, imported at its first use.

        Raises:
            ConfigError: no part has that name, or it cannot be imported.
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
        """All parts by name; imports every one of them."""
        return ((name, self[name]) for name in self.names)

    @property
    def choice(self) -> Any:
        """`Literal` of all names, an annotation for settings: help, validation and schema then follow the registry.

        A part that a script or a notebook registers later is valid, too, but not listed.
        """

        def check(value: object, literal: ValidatorFunctionWrapHandler) -> object:
            return value if isinstance(value, str) and value in self._loaded else literal(value)

        return Annotated[Literal[self.names], WrapValidator(check)]


def _origin(entry: EntryPoint) -> str:
    """An entry point with its distribution."""
    return f"{entry.value} of {entry.dist.name}" if entry.dist else entry.value
