"""The time zone of a name that an account keeps; a machine may know other names than the one it came from."""

from zoneinfo import ZoneInfo


def zone_of(name: str) -> ZoneInfo:
    """The time zone of a name; UTC where this machine does not know the name.

    Debian 13 and Ubuntu 24.04 know old names such as US/Hawaii only with the package tzdata-legacy.
    """
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        return ZoneInfo("UTC")
