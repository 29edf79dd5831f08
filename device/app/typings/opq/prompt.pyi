"""A prompt over the link: `device/port/prompt.c`. `prompt_session.py` uses it."""

from collections.abc import Callable

def open() -> None:
    """From here on what is typed is kept for `run`."""

def close() -> None:
    """Ends `run`: what runs in it is interrupted at each jump."""

def put(data: bytes) -> int:
    """Types; returns how many bytes had room. Ctrl-C interrupts what runs."""

def take(most: int) -> bytes:
    """What was printed."""

def run(round: Callable[[], bool], names: dict[str, object]) -> bool:
    """Executes what is typed, with these globals, and calls `round` each 4 ms meanwhile, which ends the
    session by False. True: a soft reset ended it; False: the session is over."""
