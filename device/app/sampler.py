"""Sampler: starts the converter by the settings, watches whether samples come, sends Hello."""

import time

import codes
from journal import Journal
from opq import acquire, board, pipeline, settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

STALL_MS = 500
"""Samples come every 3.3 ms; after so long without one the converter is started again."""
AGAIN_MS = 1000
HELLO_MS = 1000
HELLO_COMMANDED_MS = 5000
TICKS_PER_US = 84
CONVERTERS = ("board", "internal", "external")
"""Their index is the number in the log: the one requested if it failed, the one running if it started."""
START_KEYS = ("converter", "oversampling", "offset_lsb", "phase_ns")
"""Settings that take effect only when the converter starts."""
FEATURE_KEYS = ("nominal_v", "nominal_hz", "gain", "dip_pu", "swell_pu", "interruption_pu", "hysteresis_pu")
"""Settings whose change starts the features again."""


class Sampler:
    """`boot_id` changes with every start: sample indices begin at 0. `commanded`: a command was received."""

    starts = 0
    """Number of starts of the converter since the Box started; a restart of the app does not reset it."""

    def __init__(self, journal: Journal, ticks_ms: "Callable[[], int]" = time.ticks_ms) -> None:
        self.commanded = False
        self.running = False
        self.stopped = False  # on purpose
        self.restarts = 0
        self.moved_ms = ticks_ms()
        self._journal = journal
        self._ticks_ms = ticks_ms
        self._head = 0
        self._missing = 0
        self._hello_ms: int | None = None
        self._tried_ms: int | None = None

    @property
    def boot_id(self) -> int:
        return (board.boot_id() + Sampler.starts) & 0x7FFFFFFF

    def begin(self) -> None:
        """Runs at the app's start. A converter that runs already (the app was restarted) goes on."""
        if acquire.converter() is None:
            self.start()
        else:
            self.running = True

    def launch(self, strict: bool = False) -> bool:
        """Starts the converter by the settings; if it cannot, the board's own one, unless `strict`."""
        acquire.stop()
        pipeline.restart()
        delay_ticks = round(settings.number("phase_ns") * TICKS_PER_US / 1000)
        offset_lsb = round(settings.number("offset_lsb"))
        converter = settings.get("converter")
        status = acquire.start(converter, settings.integer("oversampling"), offset_lsb, delay_ticks)
        if status != acquire.OK:
            self._journal.put(codes.CONVERTER_FAILED, CONVERTERS.index(converter), status)
        if status in (acquire.BAD_OVERSAMPLING, acquire.NO_DEVICE) and not strict:
            status = acquire.start("board", 0, offset_lsb, delay_ticks)
        return status == acquire.OK

    def start(self, strict: bool = False) -> bool:
        """Starts sampling, or starts it again with the present settings."""
        self.running = self.stopped = False
        self._tried_ms = self.moved_ms = self._ticks_ms()
        if not self.launch(strict):
            return False
        Sampler.starts += 1
        self.running = True
        self._head = self._missing = 0
        self.watch_features()
        found = acquire.converter()
        if found is not None:
            self._journal.put(codes.CONVERTER_STARTED, 1 if found[0] == "internal" else 2, found[1])
        self.hello_now()
        self.hello()  # before the first block: its index belongs to a new run
        return True

    def stop(self) -> None:
        """Stops sampling on purpose."""
        acquire.stop()
        self.running = False
        self.stopped = True

    def watch_features(self) -> None:
        """Passes gain, nominal values and limits to the features."""
        pipeline.features(
            settings.number("nominal_v"),
            settings.number("nominal_hz"),
            self.v_per_lsb(),
            settings.number("dip_pu"),
            settings.number("swell_pu"),
            settings.number("interruption_pu"),
            settings.number("hysteresis_pu"),
        )

    def v_per_lsb(self) -> float:
        found = acquire.converter()
        return (found[3] if found else 0.0) * settings.number("gain")

    def watch(self) -> None:
        """Runs every 100 ms: logs lost samples, and restarts a converter that gives none."""
        if self.stopped:
            return
        now_ms = self._ticks_ms()
        head = acquire.head()
        if self.running and head != self._head:
            self._head = head
            self.moved_ms = now_ms
            missing = acquire.counters()[1]
            if missing != self._missing:
                self._journal.put(codes.SAMPLES_MISSING, missing - self._missing, missing)
                self._missing = missing
            return
        stalled_ms = time.ticks_diff(now_ms, self.moved_ms)
        if self.running and stalled_ms < STALL_MS:
            return
        if self._tried_ms is None or not 0 <= time.ticks_diff(now_ms, self._tried_ms) < AGAIN_MS:
            if self.running:
                self.restarts += 1
                self._journal.put(codes.SAMPLING_STALLED, stalled_ms, self.restarts)
            moved_ms = self.moved_ms
            self.start()
            self.moved_ms = moved_ms  # a start is not a sample

    def hello_now(self) -> None:
        """Sends Hello in the next step."""
        self._hello_ms = None

    def hello(self) -> None:
        """Sends Hello each second until the first command, then every 5 s, and when it changed."""
        now_ms = self._ticks_ms()
        every_ms = HELLO_COMMANDED_MS if self.commanded else HELLO_MS
        if self._hello_ms is not None and 0 <= time.ticks_diff(now_ms, self._hello_ms) < every_ms:
            return
        found = acquire.converter()
        if found is None:
            return
        sent = pipeline.hello(
            settings.integer("box_id"),
            self.boot_id,
            self.v_per_lsb(),
            settings.number("nominal_v"),
            settings.number("nominal_hz"),
            found[2],
            board.NAME + " " + found[0],
            board.FIRMWARE,
        )
        if sent:
            self._hello_ms = now_ms
