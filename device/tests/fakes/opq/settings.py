"""Settings in RAM; flash fails on request."""

OK, UNKNOWN_KEY, BAD_VALUE, FLASH = range(4)
LOADED, BLANK, REPAIRED, SECOND_COPY, LOST = range(5)

source = LOADED
flash = OK
saves = 0
values = {
    "box_id": "1003",
    "nominal_v": "120",
    "nominal_hz": "60",
    "gain": "1",
    "offset_lsb": "0",
    "phase_ns": "0",
    "dip_pu": "0.9",
    "swell_pu": "1.1",
    "interruption_pu": "0.1",
    "hysteresis_pu": "0.02",
    "converter": "board",
    "oversampling": "0",
    "gps": "nmea",
    "gps_baud": "9600",
    "leap_seconds": "18",
    "cable_delay_ns": "0",
    "label_offset_s": "0",
    "tcxo_ppb_per_k": "0",
    "tcxo_ppb_per_k_sigma": "0",
    "battery_low_v": "3.4",
    "supply_low_v": "4.4",
    "led_percent": "100",
}


def load():
    return source


def get(key):
    return values[key]


def integer(key):
    return int(values[key])


def number(key):
    return float(values[key])


def put(key, value):
    if key not in values:
        return UNKNOWN_KEY
    if key not in ("converter", "gps"):
        try:
            float(value)
        except ValueError:
            return BAD_VALUE
    values[key] = value
    return OK


def save():
    global saves
    if flash == OK:
        saves += 1
    return flash


def sequence():
    return saves


def items():
    return sorted(values.items())
