"""Errors that a user can act on: their text says what is wrong, where, and what is allowed."""

from collections.abc import Sized
from typing import Final

from opq_proto.visible_text import visible


class OpqError(Exception):
    """Base of all errors of the toolkit that end a command with one clear line, without a traceback."""

    exit_code = 1


class ConfigError(OpqError):
    """A configuration is wrong; nothing was started. Its text lists every problem at once."""

    exit_code = 2


class KeyFileError(OpqError):
    """A CURVE key file is missing, unreadable, incomplete or would be overwritten."""


class FrameError(OpqError):
    """Bytes are not a valid frame or message; the stream continues after them."""


class ForeignError(FrameError):
    """A message of one Box has what another one measured."""


class RecordingError(OpqError):
    """A recording, or its metadata, cannot be read. One line, whatever the name of its file has."""

    def __init__(self, text: str) -> None:
        super().__init__(visible(text))


class PortBusyError(OpqError):
    """A service cannot bind its address."""


class StoreError(OpqError):
    """The store cannot do a request, e.g. because of a newer schema, a full disk or a wrong state."""


READING_COMMIT: Final = "d19b896aa258"
"""The last commit of opq-toolkit that reads what programs before 0.2.0 stored."""


class OtherFormError(StoreError):
    """A file or database has a form that this version does not read."""

    def __init__(self, place: object, helps: str = "move it away, or choose another --data-dir") -> None:
        super().__init__(
            f"{place}: is of another program, or in a form of before 0.2.0, which opq-toolkit of commit "
            f"{READING_COMMIT} reads; {helps}"
        )


class OtherSchemaError(StoreError):
    """A store has a schema that this program does not know."""

    def __init__(self, place: object, schema: int, known: int, another: str = "--data-dir") -> None:
        super().__init__(
            f"{place}: has schema {schema}, this program knows up to {known}; "
            f"use the opq-toolkit that wrote it, or another {another}"
        )


class PluginError(OpqError):
    """A plug-in cannot be found, loaded or configured."""


def problem_count(problems: Sized) -> str:
    """Returns `1 problem` or, for example, `3 problems`."""
    return "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
