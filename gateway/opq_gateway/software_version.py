"""The version of the toolkit that this gateway runs. A separate module, because the whole service imports
it."""

from importlib.metadata import PackageNotFoundError, version


def software_version() -> str:
    """The toolkit's version, as installed."""
    try:
        return version("opq-toolkit")
    except PackageNotFoundError:
        return "0"
