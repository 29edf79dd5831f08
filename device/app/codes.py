"""Numbers of the link that the app uses: Log codes, operations, statuses of acknowledgements.

device/tests/test_app_types.py compares them with opq_proto. `const` values take no memory.
"""

from micropython import const

# Log codes (opq_proto/link/log_codes.py has their words)
STARTED = const(1)
SETTINGS_DEFAULT = const(2)
SETTINGS_SAVED = const(3)
SETTINGS_FAILED = const(4)
CRASHED = const(6)
NO_HSE = const(7)
CONVERTER_STARTED = const(10)
CONVERTER_FAILED = const(11)
SAMPLING_STALLED = const(12)
SAMPLES_MISSING = const(13)
STOPPED = const(14)
CLOCK_STATE = const(20)
CLOCK_LABEL_WRONG = const(21)
TIME_SET = const(22)
EXCEPTION = const(30)
LOOP_RESTARTED = const(31)
HEAP_LOW = const(32)
ON_BATTERY = const(40)
SUPPLY_BACK = const(41)
BATTERY_LOW = const(42)
NO_BATTERY = const(43)
UPDATE_BEGUN = const(50)
UPDATE_REFUSED = const(51)
UPDATE_VERIFIED = const(52)
UPDATE_CONFIRMED = const(53)
UPDATE_CONFIRM_FAILED = const(54)
UPDATE_ROLLED_BACK = const(55)
REPL = const(60)
LOG_LOST = const(61)
COMMANDS_LOST = const(62)
PROGRAM_STARTED = const(70)
PROGRAM_STOPPED = const(71)
PROGRAM_REMOVED = const(72)
PROGRAM_LINE = const(73)
PROGRAM_WINDOWS_LOST = const(74)

# Command.operation
HELLO = const(1)
GET_SETTINGS = const(2)
PUT_SETTING = const(3)
RESET = const(4)
SYNC_TIME = const(5)
CROSSING_LIMITS = const(6)
UPDATE_BEGIN = const(7)
UPDATE_END = const(8)
REPL_OPERATION = const(9)
PROTECT = const(10)
PROGRAM = const(11)

# Acknowledgement.status
DONE = const(0)
UNKNOWN = const(1)
BAD_ARGUMENT = const(2)
BUSY = const(3)
FAILED = const(4)

# Reasons of STOPPED
BATTERY = const(1)
SUPPLY_LOW = const(2)
COMMANDED = const(3)
