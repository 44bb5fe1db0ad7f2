"""Errors that a user can make or meet; the command line prints them as one line."""


class ExportError(Exception):
    """The export can't be done; the message is one readable line and the exit code 1."""

    exit_code = 1


class UsageError(ExportError):
    """The command line asks for something that does not exist; the exit code is 2."""

    exit_code = 2


class VerificationError(ExportError):
    """The converted model is further from the float model than its preset allows; nothing was published."""
