"""The browser of the tests."""

import shutil


def browser_program() -> str | None:
    """Returns Chromium's program, or None where it is not installed.

    The one without windows takes a third of the CPU: the other opens one for each context, visible or not.
    """
    return shutil.which("chromium-headless-shell") or shutil.which("chromium")
