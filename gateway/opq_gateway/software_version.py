"""Which version of the toolkit this gateway runs. Nothing else, for the whole service imports it."""

from importlib.metadata import PackageNotFoundError, version


def software_version() -> str:
    """The toolkit's version, as installed."""
    try:
        return version("opq-toolkit")
    except PackageNotFoundError:
        return "0"
