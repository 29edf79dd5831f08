"""Words for a Box's Log messages: a code with two integers becomes an event and its facts.

The Box keeps numbers (device/app/codes.py has the same ones, device/tests/test_app_types.py compares).
An unknown code of a newer Box is logged too.
"""

from dataclasses import dataclass

from opq_proto.link.messages import Log

RESET_CAUSES = {
    0: "unknown",
    1: "power",
    2: "brown-out",
    3: "pin",
    4: "software",
    5: "watchdog",
    6: "low power",
}
"""Health.reset_cause and the second integer of `box.started`: opq_reset_cause_t (RCC_CSR, RM0090 7.3.21)."""

STARTED = 1
UPDATE_CONFIRMED = 53
"""The Box has confirmed new firmware after its trial."""
UPDATE_ROLLED_BACK = 55
"""The Box has returned to its former firmware."""
PROGRAM_STATES = {
    0: "none",
    1: "runs",
    2: "stopped: a call took too long",
    3: "stopped: too much heap",
    4: "stopped: it raised an exception",
    5: "not started: three resets during its calls",
    6: "not started: it does not compile",
}
"""State of a user's program (device/app/user_program.py), in BoxFacts and `box.program_stopped`."""
_STATES = {0: "free", 1: "acquiring", 2: "locked", 3: "holdover"}
WORDS: dict[str, dict[int, str]] = {
    "reset_cause": RESET_CAUSES,
    "before": _STATES,
    "now": _STATES,
    "converter": {0: "the board's", 1: "internal", 2: "external"},
    "reason": {1: "battery", 2: "supply", 3: "commanded"},
    "source": {1: "new flash", 2: "repaired", 3: "second copy", 4: "standard values"},
    "slot": {0: "A", 1: "B"},
    "program": PROGRAM_STATES,
    "closed_by": {1: "gateway", 2: "silence", 3: "app"},
}
"""Facts whose integers are logged as words."""


@dataclass(frozen=True, slots=True)
class Code:
    """One Log.code: C and Python name on the Box, event here, what `a` and `b` are ("" when unused)."""

    name: str
    event: str
    a: str = ""
    b: str = ""
    warns: bool = False


CODES: dict[int, Code] = {
    1: Code("STARTED", "box.started", "boot_id", "reset_cause"),
    2: Code("SETTINGS_DEFAULT", "box.settings_default", "source", "", warns=True),
    3: Code("SETTINGS_SAVED", "box.settings_saved", "sequence"),
    4: Code("SETTINGS_FAILED", "box.settings_failed", "status", "", warns=True),
    10: Code("CONVERTER_STARTED", "box.converter_started", "converter", "oversampling"),
    11: Code("CONVERTER_FAILED", "box.converter_failed", "converter", "status", warns=True),
    12: Code("SAMPLING_STALLED", "box.sampling_stalled", "stalled_ms", "restarts", warns=True),
    13: Code("SAMPLES_MISSING", "box.samples_missing", "samples", "in_all", warns=True),
    14: Code("STOPPED", "box.stopped", "reason"),
    20: Code("CLOCK_STATE", "box.clock_state", "before", "now"),
    21: Code("CLOCK_LABEL_WRONG", "box.clock_label_wrong", "seconds_off", "", warns=True),
    22: Code("TIME_SET", "box.time_set", "uncertainty_ms"),
    6: Code("CRASHED", "box.crashed", "kind", "pc", warns=True),
    7: Code("NO_HSE", "box.no_hse", "clock_source", "", warns=True),
    30: Code("EXCEPTION", "box.exception", "in_all", "where", warns=True),
    31: Code("LOOP_RESTARTED", "box.loop_restarted", "in_all", "", warns=True),
    32: Code("HEAP_LOW", "box.heap_low", "free_bytes", "low_water_bytes", warns=True),
    40: Code("ON_BATTERY", "box.on_battery", "supply_mv", "battery_mv", warns=True),
    41: Code("SUPPLY_BACK", "box.supply_back", "supply_mv", "on_battery_s"),
    42: Code("BATTERY_LOW", "box.battery_low", "supply_mv", "battery_mv", warns=True),
    43: Code("NO_BATTERY", "box.no_battery", "supply_mv", "battery_mv", warns=True),
    50: Code("UPDATE_BEGUN", "box.update_begun", "bytes", "slot"),
    51: Code("UPDATE_REFUSED", "box.update_refused", "status", "at_byte", warns=True),
    52: Code("UPDATE_VERIFIED", "box.update_verified", "bytes", "slot"),
    53: Code("UPDATE_CONFIRMED", "box.update_confirmed", "slot"),
    54: Code("UPDATE_CONFIRM_FAILED", "box.update_confirm_failed", "status", "", warns=True),
    55: Code("UPDATE_ROLLED_BACK", "box.update_rolled_back", "", "", warns=True),
    60: Code("REPL", "box.repl"),
    61: Code("LOG_LOST", "box.log_lost", "lines", "", warns=True),
    62: Code("COMMANDS_LOST", "box.commands_lost", "commands", "in_all", warns=True),
    70: Code("PROGRAM_STARTED", "box.program_started", "characters"),
    71: Code("PROGRAM_STOPPED", "box.program_stopped", "program", "line", warns=True),
    72: Code("PROGRAM_REMOVED", "box.program_removed"),
    73: Code("PROGRAM_LINE", "box.program_line", "a", "b"),
    74: Code("PROGRAM_WINDOWS_LOST", "box.program_windows_lost", "windows", "in_all", warns=True),
    80: Code("PROMPT_OPENED", "box.prompt_opened"),
    81: Code("PROMPT_CLOSED", "box.prompt_closed", "closed_by"),
}


def words(message: Log) -> tuple[str, bool, dict[str, int | str]]:
    """Returns the event, whether it is a warning, and its facts.

    >>> words(Log(1, 7, 5, 120))
    ('box.started', False, {'boot_id': 7, 'reset_cause': 'watchdog', 'uptime_ms': 120})
    """
    code = CODES.get(message.code)
    if code is None:
        facts: dict[str, int | str] = {"code": message.code, "a": message.a, "b": message.b}
        return "box.log", False, facts | {"uptime_ms": message.uptime_ms}
    facts = {}
    for key, value in ((code.a, message.a), (code.b, message.b)):
        if key:
            facts[key] = WORDS[key].get(value, str(value)) if key in WORDS else value
    return code.event, code.warns, facts | {"uptime_ms": message.uptime_ms}
