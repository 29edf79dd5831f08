# MicroPython for this PC with the Box's pure C modules (link, dsp): the golden vectors run in it (device/tests).
# Of the unix port's libraries none is needed.
MICROPY_PY_BTREE = 0
MICROPY_PY_FFI = 0
MICROPY_PY_SOCKET = 0
MICROPY_PY_SSL = 0
MICROPY_PY_TERMIOS = 0
MICROPY_PY_THREAD = 0
MICROPY_USE_READLINE = 0
