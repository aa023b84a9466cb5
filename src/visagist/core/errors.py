"""Every error that visagist raises on purpose.

    VisagistError
    ├── ConfigError            a setting or a settings file is wrong
    ├── OutputError            a result cannot be written (place, permission, disk full)
    ├── FootageError           a file cannot be used as footage
    │   ├── InterlacedError    it is interlaced and nobody asked to deinterlace it
    │   └── DamagedError       part of it cannot be decoded and nobody allowed that
    ├── WeightsError           a face model is missing, altered, or of another shape
    ├── GeometryError          points from which no alignment can be made
    ├── SubjectError           whose face is meant cannot be told
    │   ├── NoFaceError        nobody's face is there
    │   └── SeveralError       several people are there and none was chosen
    ├── FacesetError           a folder or a crop cannot be used as a faceset
    ├── RunError               a folder cannot be used as a training run
    │   └── CollapseError      training went to NaN or collapsed more often than it may
    ├── EvaluationError        a render cannot be judged against this target or source
    ├── ConsentError           a consent record is missing, incomplete, or of another person
    ├── CredentialsError       signing or reading content credentials failed
    └── SafeguardError         the footage shows intimate imagery

A message names the file and the remedy; the command line prints it as one line and exits with code 1.
"""


class VisagistError(Exception):
    """Base of all errors raised on purpose."""


class ConfigError(VisagistError):
    """A setting or a settings file is wrong."""


class OutputError(VisagistError):
    """A result cannot be written."""


class FootageError(VisagistError):
    """A file cannot be used as footage."""


class InterlacedError(FootageError):
    """The footage is interlaced and nobody asked to deinterlace it."""


class DamagedError(FootageError):
    """Part of the footage cannot be decoded and nobody allowed that."""


class WeightsError(VisagistError):
    """A face model is missing, altered, or of another shape."""


class GeometryError(VisagistError):
    """No alignment can be made from these points."""


class SubjectError(VisagistError):
    """Whose face is meant cannot be told."""


class NoFaceError(SubjectError):
    """Nobody's face is there."""


class SeveralError(SubjectError):
    """Several people are there and none was chosen."""


class FacesetError(VisagistError):
    """A folder or a crop cannot be used as a faceset."""


class RunError(VisagistError):
    """A folder cannot be used as a training run."""


class CollapseError(RunError):
    """Training went to NaN or collapsed more often than it may."""


class EvaluationError(VisagistError):
    """A render cannot be judged against this target or source."""


class ConsentError(VisagistError):
    """A consent record is missing, incomplete, or of another person."""


class CredentialsError(VisagistError):
    """Signing or reading content credentials failed."""


class SafeguardError(VisagistError):
    """The footage shows intimate imagery."""
