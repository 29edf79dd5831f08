"""Waveforms whose gain is not stated: what is assumed to draw them, and the sentence that says what to do.

Short: Makai writes it, Mauka judges by it, View shows it, and these do not import each other.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from opq_proto.messages import Waveform
from opq_proto.wire.frames import Response, waveform_from_frames

DRAWN_V_PER_LSB = 1 / 152.5
"""The original's sample configuration (docs/reference/opq-interop.md G.1); real Boxes differ from it by up to
5 %."""
UNKNOWN = "its gain is not known, so its volts are not judged"


def gain_command(box_id: str) -> str:
    """Returns the command that states the gain."""
    return f"opq-tools boxes set {box_id} --calibration-constant COUNTS_PER_VOLT"


def gain_advice(box_id: str) -> str:
    """Returns what is not judged, and the commands that change it."""
    return (
        f"{UNKNOWN}; state it with `{gain_command(box_id)}`, then `opq-tools reanalyse` judges stored events"
    )


def answered_waveform(
    frames: Sequence[bytes], v_per_lsb_at: Callable[[int], float | None]
) -> tuple[Response, Waveform | None]:
    """Reads a Box's answer, which may state its gain.

    `v_per_lsb_at`: the gain of samples that begin at a moment, where the answer does not state it; None: it
    is unknown. Raises FrameError as `waveform_from_frames`, and what `v_per_lsb_at` raises.
    """
    response, wave = waveform_from_frames(frames[0], frames[1:], DRAWN_V_PER_LSB)
    if wave is None or response.get_data_response.volts_per_lsb == wave.v_per_lsb:
        return response, wave
    known = v_per_lsb_at(wave.start_ns)
    gain = DRAWN_V_PER_LSB if known is None else known
    return response, replace(wave, v_per_lsb=gain, gain_known=known is not None, gain_stated=False)
