"""Reading another thread's frame while garbage is collected and threads begin."""

import subprocess
import sys

READERS = """
import gc, threading, time
from opq_cloud.makai.judging.hang_watch import frame_of

class Cycle:
    def __init__(self):
        self.me = self
    def __del__(self):
        time.sleep(0)  # lets another thread run

until_s = time.monotonic() + 1.0

def read():
    while time.monotonic() < until_s:
        Cycle()
        assert all(frame_of(threading.get_ident()) is not None for _ in range(50))

gc.set_threshold(1)
readers = [threading.Thread(target=read) for _ in range(3)]
for each in readers:
    each.start()
while time.monotonic() < until_s:
    begun = threading.Thread(target=Cycle)
    begun.start()
    begun.join()
for each in readers:
    each.join()
assert gc.isenabled()
"""


def test_reading_frames_never_stops_the_process() -> None:
    """With `sys._current_frames` alone Python 3.11 stops here for ever (CPython issue 106883)."""
    subprocess.run([sys.executable, "-c", READERS], check=True, timeout=240)
