"""Registries: named parts of visagist, one file each, and those that other distributions add through entry points.

    # visagist/merging/color/__init__.py
    COLOR: Registry[Transfer] = Registry("colour transfer", "visagist.merging.color", "visagist.color")

    # visagist/merging/color/reinhard.py
    @COLOR.register
    def reinhard(...): ...

A built-in part bears the name of its file; a part of another distribution bears the name of its entry point. Names are
listed without importing anything; a part is imported when it is first asked for.
"""

import importlib
import importlib.util
import pkgutil
from collections.abc import Iterator
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, Literal, TypeVar

from visagist.core.errors import ConfigError

T = TypeVar("T")
U = TypeVar("U")


class Registry(Generic[T]):
    """Parts by name.

    Args:
        kind: what a part is called in messages, such as `colour transfer`.
        package: whose modules are the built-in parts. Sub-packages and names with a leading underscore are none.
        group: entry-point group of other distributions.
        besides: modules of the package that are no parts.
    """

    def __init__(self, kind: str, package: str, group: str, besides: tuple[str, ...] = ()) -> None:
        self.kind, self.package, self.group, self.besides = kind, package, group, besides
        self._registered: dict[str, T] = {}

    def register(self, part: U, module: str | None = None) -> U:
        """Add a built-in part under the name of its file; usable as a decorator of classes and functions.

        Args:
            part: the part.
            module: `__name__` of the file, for parts that are neither a class nor a function.
        """
        name = (module or str(part.__module__)).rpartition(".")[2]
        self._registered[name] = part  # pyright: ignore[reportArgumentType] - the decorator keeps the part's own type
        return part

    @cached_property
    def _built_in(self) -> tuple[str, ...]:
        spec = importlib.util.find_spec(self.package)
        places = spec.submodule_search_locations if spec else None
        found = [
            module.name
            for module in pkgutil.iter_modules(places)
            if not (module.ispkg or module.name.startswith("_") or module.name in self.besides)
        ]
        return tuple(sorted(found))

    @cached_property
    def _added(self) -> dict[str, EntryPoint]:
        """Entry points of other distributions by name.

        Raises:
            ConfigError: two distributions, or one and visagist, use the same name.
        """
        found: dict[str, EntryPoint] = {}
        for entry in entry_points(group=self.group):
            if entry.name in self._built_in or entry.name in found:
                other = found[entry.name].value if entry.name in found else "visagist itself"
                raise ConfigError(
                    f"two {self.kind}s are called '{entry.name}': {entry.value} and one of {other}; uninstall one of "
                    "the distributions"
                )
            found[entry.name] = entry
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """All names, built-in parts first; nothing is imported."""
        return (*self._built_in, *sorted(self._added))

    def __getitem__(self, name: str) -> T:
        """A part, imported at its first use.

        Raises:
            ConfigError: no part has that name, or it cannot be imported.
        """
        if name in self._registered:
            return self._registered[name]
        if name in self._built_in:
            importlib.import_module(f"{self.package}.{name}")
            if name not in self._registered:
                raise ConfigError(f"{self.package}.{name} registers no {self.kind}; decorate it with `register`")
        elif name in self._added:
            entry = self._added[name]
            try:
                self._registered[name] = entry.load()
            except (ImportError, AttributeError) as error:
                raise ConfigError(f"{self.kind} '{name}' ({entry.value}) cannot be imported: {error}") from error
        else:
            raise ConfigError(f"no {self.kind} '{name}' (available: {', '.join(self.names)})")
        return self._registered[name]

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def items(self) -> Iterator[tuple[str, T]]:
        """All parts by name; imports every one of them."""
        return ((name, self[name]) for name in self.names)

    @property
    def choice(self) -> Any:
        """`Literal` of all names: an annotation for settings, whose help and validation then follow the registry."""
        return Literal[self.names]
