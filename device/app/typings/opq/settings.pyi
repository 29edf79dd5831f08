"""Settings in flash: `device/cmodules/settings/module.c`."""

OK: int
UNKNOWN_KEY: int
BAD_VALUE: int
FLASH: int

LOADED: int
BLANK: int
REPAIRED: int
SECOND_COPY: int
LOST: int

def load() -> int:
    """Where the values came from: LOADED ... LOST."""

def get(key: str) -> str:
    """KeyError: no such setting."""

def integer(key: str) -> int: ...
def number(key: str) -> float: ...
def put(key: str, value: str) -> int:
    """Sets a value in RAM; returns OK, UNKNOWN_KEY or BAD_VALUE."""

def save() -> int:
    """Saves all changed values at once; returns OK or FLASH."""

def sequence() -> int: ...
def rejected() -> int:
    """Stored settings that this firmware does not take."""

def items() -> list[tuple[str, str]]: ...
