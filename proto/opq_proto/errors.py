"""Errors that a user can do something about: their text says what, where, what was wanted."""


class OpqError(Exception):
    """Base of all errors of the toolkit that end in one clear line and no traceback."""

    exit_code = 1


class ConfigError(OpqError):
    """A configuration is wrong; nothing was started. Its text lists every problem at once."""

    exit_code = 2


class KeyFileError(OpqError):
    """A CURVE key file is missing, unreadable, incomplete or would be overwritten."""


class FrameError(OpqError):
    """Bytes that are no valid frame or message; the stream goes on after them."""


class RecordingError(OpqError):
    """A recording, or the metadata beside it, cannot be read."""


class PortBusyError(OpqError):
    """A service cannot bind its address."""


class StoreError(OpqError):
    """The store cannot do what was asked, e.g. a newer schema, a full disk, a wrong state."""


class PluginError(OpqError):
    """A plug-in cannot be found, loaded or configured."""
