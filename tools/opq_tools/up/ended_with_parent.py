"""Runs a command that must not outlive its parent: `python ended_with_parent.py PARENT_PID COMMAND…`.

The kernel sends SIGTERM when the parent dies, even by kill -9 (Linux, prctl(2) PR_SET_PDEATHSIG),
then this process becomes the command. Run as a plain script with -I -S: it costs some 15 ms.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(parent: int, command: list[str]) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            sys.exit(0)  # the parent ended before prctl took effect
    os.execv(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
