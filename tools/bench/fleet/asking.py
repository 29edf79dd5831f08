"""Asking: one waveform a second from one Box after another, through the brokers, while a fleet measures."""

import itertools
import threading
import time
from collections.abc import Sequence

from opq_proto.command_client import CommandClient, UnansweredError
from opq_proto.errors import OpqError
from opq_proto.wire import data_command, waveform_from_frames

EVERY_S = 1.0
WAVEFORM_S, ENDED_S = 3.0, 1.0
"""Asked for: so much, which ended so long ago."""
ANSWER_S = 20.0


class WaveformAsking:
    """For the `with` block, in a thread of its own.

    Attributes:
        asked, answered: waveforms.
        samples: of the answers.
        latencies_s: of each answer.
        unanswered: a line for each that was not answered, or not in time.
    """

    def __init__(self, command_endpoint: str, answer_endpoint: str, box_ids: Sequence[str]) -> None:
        self.asked = self.answered = self.samples = 0
        self.latencies_s: list[float] = []
        self.unanswered: list[str] = []
        self._endpoints, self._box_ids = (command_endpoint, answer_endpoint), box_ids
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="asking", daemon=True)

    def __enter__(self) -> "WaveformAsking":
        self._thread.start()
        return self

    def __exit__(self, *what: object) -> None:
        self._stop.set()
        self._thread.join(ANSWER_S + 5.0)

    def _run(self) -> None:
        began_s = time.monotonic()
        with CommandClient(*self._endpoints) as client:
            for box_id in itertools.cycle(self._box_ids):
                asked_s = time.monotonic()
                try:
                    self._ask(client, box_id)
                except OpqError as error:
                    self.unanswered.append(f"Box {box_id}, asked after {asked_s - began_s:.0f} s: {error}")
                if self._stop.wait(max(0.0, asked_s + EVERY_S - time.monotonic())):
                    return

    def _ask(self, client: CommandClient, box_id: str) -> None:
        """Raises UnansweredError, FrameError."""
        asked_s = time.monotonic()
        end_ns = time.time_ns() - round(ENDED_S * 1e9)
        command = data_command(box_id, end_ns - round(WAVEFORM_S * 1e9), end_ns, client.identity, wait=False)
        self.asked += 1
        frames = client.send_for_frames(command, ANSWER_S)
        response, wave = waveform_from_frames(frames[0], frames[1:])
        if wave is None or response.box_id != int(box_id):
            raise UnansweredError("an answer without samples, or of another Box")
        self.answered += 1
        self.samples += len(wave.counts)
        self.latencies_s.append(time.monotonic() - asked_s)
