"""Why a serial port cannot be opened, in few words; pyserial's text has port name and errno twice."""

import errno
import os

HINTS = {
    errno.ENOENT: "no such port; see /dev/serial/by-id for those there are",
    errno.EACCES: "this user may not open it; on Debian: sudo adduser $USER dialout, then log in again",
    errno.EBUSY: "another program has it; stop the gateway, or whoever uses it",
    errno.EAGAIN: "another program has it; stop the gateway, or whoever uses it",
}


def why_not_opened(error: Exception) -> str:
    """Returns the reason and what to do, without the port's name.

    >>> why_not_opened(FileNotFoundError(errno.ENOENT, "could not open port /dev/ttyUSB0: ..."))
    'no such port; see /dev/serial/by-id for those there are'
    """
    code = getattr(error, "errno", None)
    if code in HINTS:
        return HINTS[code]
    text = str(error)
    if "Inappropriate ioctl" in text:
        return "this is not a serial port"
    if code and "://" not in text:
        return os.strerror(code)
    return text
