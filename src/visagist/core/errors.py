"""All errors that visagist raises on purpose.

Every message names the file and the remedy. The command line prints it as one line and exits with code 1.
"""


class VisagistError(Exception):
    """Base class of all errors raised on purpose."""


class ConfigError(VisagistError):
    """A setting or a settings file is invalid."""


class ReadError(VisagistError):
    """A file is missing, is not a regular file, is too large, or is not of its format."""


class OutputError(VisagistError):
    """A result cannot be written: bad path, no permission, disk full."""


class FootageError(VisagistError):
    """A file cannot be used as footage."""


class InterlacedError(FootageError):
    """The footage is interlaced and deinterlacing was not requested."""


class DamagedError(FootageError):
    """Some frames cannot be decoded and damaged footage was not allowed."""


class WeightsError(VisagistError):
    """A face model is missing, altered, or has the wrong inputs."""


class GeometryError(VisagistError):
    """Points or regions from which nothing can be computed."""


class SubjectError(VisagistError):
    """The person to work on cannot be determined."""


class NoFaceError(SubjectError):
    """No matching face was found."""


class SeveralError(SubjectError):
    """The footage shows several people and none was chosen."""


class FacesetError(VisagistError):
    """A folder or a crop cannot be used as a faceset."""


class RunError(VisagistError):
    """A folder cannot be used as a training run."""


class CollapseError(RunError):
    """Training diverged or collapsed more often than allowed."""


class EvaluationError(VisagistError):
    """A render cannot be evaluated against this target or source."""


class ConsentError(VisagistError):
    """A consent record is missing, incomplete, or belongs to another person."""


class CredentialsError(VisagistError):
    """Content credentials cannot be signed or read."""


class SafeguardError(VisagistError):
    """The footage shows intimate imagery."""
