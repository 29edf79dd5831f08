"""Firmware into the other slot: `device/cmodules/update/module.c`."""

OK: int
BUSY: int
WRONG_OFFSET: int
BAD_IMAGE: int
FLASH: int
NOT_BEGUN: int
ON_TRIAL: int
BAD_LENGTH: int

def begin(length: int) -> int: ...
def data(offset: int, piece: bytes) -> int: ...
def step() -> int:
    """While BUSY: erases one sector (1 to 2 s; sampling goes on)."""

def end() -> int:
    """Verifies and marks for trial; a reset tries it."""

def next() -> int:
    """Offset of the next byte wanted."""

def verdict() -> int:
    """Why it was refused (opq_image_verdict_t)."""

def slot() -> int:
    """The one that would be written: 0 A, 1 B."""

def on_trial() -> bool:
    """The running image has not been confirmed yet."""

def confirm() -> int:
    """The running image is healthy; 0: done (opq_nor_status_t)."""

def boot() -> tuple[int, int, int, int, int, int, int, int, int] | None:
    """What the boot loader says: slot, trials, watchdog resets in a row, verdicts of A and B, lowest version,
    its own version, check_us, starts."""

def rolled_back() -> bool:
    """This start is of the older image: the newer one was rejected."""
