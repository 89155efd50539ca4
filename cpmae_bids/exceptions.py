"""Errors that a user can act on.

Each carries the exit code of the command that it ends. Its text is one line that says what is wrong,
with which file, and what to do about it; commands print that line and no traceback.
"""

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 64
EXIT_NOTHING_TO_DO = 70
EXIT_INTERRUPTED = 130


class CpmaeError(Exception):
    """Base class of all errors that are reported as one line."""

    exit_code = EXIT_FAILED

    def __str__(self) -> str:
        # Texts that come from other libraries may hold line breaks; logs and tables must not.
        return ' '.join(super().__str__().split())


class InputError(CpmaeError):
    """A scan, mask or sidecar that cannot be used."""


class UsageError(CpmaeError):
    """Arguments that contradict each other or the machine they are used on."""

    exit_code = EXIT_USAGE


class NothingToDoError(CpmaeError):
    """No scan matches the query."""

    exit_code = EXIT_NOTHING_TO_DO


class WeightsError(CpmaeError):
    """Weights that are missing, damaged or of another shape."""

    exit_code = EXIT_USAGE


class TemplateError(CpmaeError):
    """No template brain can be found or read."""


class VerdictError(CpmaeError):
    """A result that cannot be judged, or must not be published."""
