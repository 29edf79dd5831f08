"""Features of given samples: `device/cmodules/dsp/module.c`. The Box's own stream is in `opq.pipeline`."""

from array import array

DIP: int
SWELL: int
INTERRUPTION: int

class Features:
    def __init__(
        self,
        rate_hz: float,
        nominal_hz: float,
        nominal_v: float,
        v_per_lsb: float,
        dip_pu: float,
        swell_pu: float,
        interruption_pu: float,
        hysteresis_pu: float,
        /,
    ) -> None:
        """12 KB of heap, in one piece. ValueError: out of range."""

    def push(self, samples: array[int] | bytes | bytearray, first_sample: int, clipped: bool, /) -> None:
        """Samples are int16; a jump of `first_sample` is a gap."""

    def measurement(self, /) -> tuple[int, int, float, float, float, float, float, float, bool] | None:
        """The oldest window that was not fetched: first_sample, samples, rms_v, f_hz, thd, trans_v, least and
        largest rms of a half cycle, clipped."""

    def crossing(self, /) -> tuple[int, int, bool, float, float] | None:
        """The oldest crossing: sample, kind, entering, rms_v, limit_v."""

    def half_cycle(self, /) -> tuple[int, float, float, float] | None:
        """The oldest half cycle: sample, begin, cycle_samples, rms_v."""
