"""Merging keyword arguments and the `options=` object of a public function."""

from typing import Any, TypeVar

from visagist.core.errors import ConfigError
from visagist.core.settings import Settings

S = TypeVar("S", bound=Settings)


def combine(options: S | None, cls: type[S], **given: Any) -> S:
    """Merge keyword arguments into `options`, or into the defaults of `cls`; arguments that are None do not count.

    Raises:
        ConfigError: a setting is given twice or has an invalid value.
    """
    options = cls() if options is None else options
    given = {name: value for name, value in given.items() if value is not None}
    if twice := sorted(given.keys() & options.model_fields_set):
        raise ConfigError(f"{', '.join(twice)}: given both as a keyword and in {cls.__name__}; remove one")
    if not given:
        return options
    kept = {name: getattr(options, name) for name in options.model_fields_set}
    return cls.parse({**kept, **given}, cls.__name__)
