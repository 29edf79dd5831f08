"""The chip and the board: `device/port/module.c`."""

from typing import NoReturn

NAME: str
"""As in the image header: opqbox, pyboard_f405."""
FIRMWARE: str
"""Version of this build."""
LED_STATUS: int
LED_TIME: int
LED_FAULT: int

def reset_cause() -> int:
    """0 unknown, 1 power, 2 brown-out, 3 pin, 4 software, 5 watchdog, 6 low power (opq_reset_cause_t)."""

def clock_source() -> int:
    """0 HSE, 1 HSI (HSE did not start), 2 slow: nothing can be sampled (opq_clock_source_t)."""

def unique_id() -> bytes:
    """12 bytes."""

def boot_id() -> int:
    """31 bits, different at each start."""

def led(which: int, on: bool) -> None: ...
def repl_wanted() -> bool:
    """Whether the REPL pin is low, or the REPL was requested before this reset."""

def repl() -> NoReturn:
    """Hands USART1 to the prompt until the next reset."""

def crash() -> tuple[int, int, int, int, int, int] | None:
    """Why the firmware reset itself before this start: (kind, pc, lr, cfsr, hfsr, count)."""

def protection() -> tuple[int, int]:
    """The option bytes: brown-out level 0 (off) to 3 (2.70 V); a bit for each write-protected sector."""

def protect(level: int, sectors: int) -> bool:
    """Sets both, for sectors 0 and 1 only; whether they are so now."""

def supply_is_low() -> bool:
    """Whether VDD is below 2.9 V (PVD); then flash must not be written."""

def watchdog_start() -> None: ...
def watchdog_feed() -> None: ...
def reset() -> NoReturn: ...
def tick() -> int:
    """Ticks of 84 MHz since the start."""
