"""Writes firmware into the other slot: `device/cmodules/update/module.c`."""

OK: int
BUSY: int
WRONG_OFFSET: int
BAD_IMAGE: int
FLASH: int
NOT_BEGUN: int
ON_TRIAL: int
BAD_LENGTH: int
REQUEST_RECOVERY: int
REQUEST_REPL: int

def begin(length: int) -> int: ...
def data(offset: int, piece: bytes) -> int: ...
def step() -> int:
    """While BUSY: erases one sector (1 to 2 s; sampling goes on)."""

def end() -> int:
    """Verifies the image and marks it for trial, which begins with a reset."""

def next() -> int:
    """Offset of the next byte wanted."""

def state() -> int:
    """0 idle, then as opq_update_state_t."""

def verdict() -> int:
    """Why the image was refused (opq_image_verdict_t)."""

def slot() -> int:
    """The slot that an update writes: 0 A, 1 B."""

def on_trial() -> bool:
    """Whether the running image has not been confirmed yet."""

def confirm() -> int:
    """Confirms the running image as healthy; returns 0 if done (opq_nor_status_t)."""

def boot() -> tuple[int, int, int, int, int, int, int, int, int] | None:
    """The boot loader's report: slot, trials, watchdog resets in a row, verdicts of A and B, lowest version,
    its own version, check_us, starts."""

def request(what: int) -> None:
    """For the boot loader at the next reset: REQUEST_RECOVERY or REQUEST_REPL."""

def rolled_back() -> bool:
    """Whether the newer image was rejected and the older one runs."""
