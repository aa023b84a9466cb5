"""Settings of a public function that are given as keywords, as an options object, or as both."""

from typing import Any, TypeVar

from visagist.core.errors import ConfigError
from visagist.core.settings import Settings

S = TypeVar("S", bound=Settings)


def combine(options: S | None, cls: type[S], **given: Any) -> S:
    """An options object with the keywords of a call filled in.

    Args:
        options: what the caller gave as `options=`; None for the defaults of `cls`.
        cls: class of the options.
        given: keywords with the names of its fields; None for those that were not given.

    Raises:
        ConfigError: a setting is given twice, or its value is not allowed.
    """
    options = cls() if options is None else options
    given = {name: value for name, value in given.items() if value is not None}
    if twice := sorted(given.keys() & options.model_fields_set):
        raise ConfigError(f"{', '.join(twice)}: given both as a keyword and in {cls.__name__}; give it once")
    if not given:
        return options
    kept = {name: getattr(options, name) for name in options.model_fields_set}
    return cls.parse({**kept, **given}, cls.__name__)
