"""Boxes of the original's C++ generation (LEG) at the acquisition broker: READ, PING and their answers.

A LEG Box subscribes to everything and answers the topic `evget`, in messages of its own
(docs/reference/opq-interop.md A.4, A.5); clients on 9884 and 9899 see none of that. A Box that subscribed to
everything and has not answered yet may be of either generation and is asked in both forms; its first answer
shows which. ZeroMQ cannot address one of them: all LEG Boxes receive each READ, as with the original's
broker, so commands for the same span that wait at the same time are one READ, and the answer of a Box that
was not asked is counted and dropped.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from opq_cloud.core.service import ServiceCounters
from opq_proto.errors import FrameError
from opq_proto.wire.leg import LegAnswer, leg_ping, leg_read, read_leg_answer, response_from_leg
from opq_proto.wire.opq_pb2 import RequestDataMessage
from opq_proto.wire.opqbox3_pb2 import Command

PING_S = 13.0
"""A Box gets a PING after this time without a command; a LEG Box makes its sockets again after 60 s
(docs/reference/opq-interop.md A.11)."""
FIRST_PING_S = 1.0
"""Shortest interval for Boxes that have just come: all of them receive each PING."""


@dataclass(slots=True)
class LegRead:
    """One READ under way: the identities of its requests by Box."""

    start_ms: int
    end_ms: int
    until_s: float
    identities: dict[str, list[str]] = field(default_factory=dict)
    """By Box that has not answered."""


class LegBoxes:
    """Belongs to the broker's loop; times are monotonic seconds, passed in."""

    def __init__(
        self, counters: ServiceCounters, next_number: Callable[[], int], limit: int, keep_s: float
    ) -> None:
        """`limit`: READs that wait for answers at most, each for `keep_s`."""
        self._counters = counters
        self._next_number = next_number
        self._limit, self._keep_s = limit, keep_s
        self._is_leg: dict[str, bool | None] = {}
        """By Box that subscribed to everything; None: it has not answered yet."""
        self._gathered: dict[tuple[int, int], LegRead] = {}
        self._reads: OrderedDict[int, LegRead] = OrderedDict()
        self._pinged_s = float("-inf")
        self._new = False

    def add_box(self, box_id: str) -> None:
        """Adds a Box that subscribed to everything."""
        self._is_leg.setdefault(box_id, None)
        self._new = True

    def forms(self, box_id: str) -> tuple[bool, bool]:
        """Returns whether to ask the Box in today's form, and whether in LEG's."""
        is_leg = self._is_leg.get(box_id, False)
        return not is_leg, is_leg is not False

    def note_today(self, box_id: str) -> None:
        """Notes that the Box answered in today's form."""
        if box_id in self._is_leg:
            self._is_leg[box_id] = False

    def gather(self, command: Command, now_s: float) -> None:
        """Adds a data command for a LEG Box; `messages` sends it."""
        span = command.data_command.start_ms, command.data_command.end_ms
        read = self._gathered.setdefault(span, LegRead(*span, now_s + self._keep_s))
        read.identities.setdefault(str(command.box_id), []).append(command.identity)

    def messages(self, now_s: float) -> Iterator[list[bytes]]:
        """Yields the messages due on 8194: READs, or a PING after a while without any."""
        gathered, self._gathered = self._gathered, {}
        for read in gathered.values():
            number = self._next_number()
            try:
                message = leg_read(number, read.start_ms, read.end_ms)
            except FrameError:
                self._counters.add("malformed_commands")
                continue
            self._reads[number] = read
            self._pinged_s = now_s
            self._counters.add("leg_reads")
            yield message
        while self._reads and (
            len(self._reads) > self._limit or next(iter(self._reads.values())).until_s <= now_s
        ):
            self._counters.add("leg_unanswered", len(self._reads.popitem(last=False)[1].identities))
        wait_s = FIRST_PING_S if self._new else PING_S
        if now_s - self._pinged_s >= wait_s and any(each is not False for each in self._is_leg.values()):
            self._pinged_s, self._new = now_s, False
            self._counters.add("leg_pings")
            yield leg_ping(self._next_number())

    def answer_of(self, box_id: str, frames: list[bytes]) -> LegAnswer | None:
        """Reads the first frame as a LEG Box's answer; None: not a LEG Box, or not an answer."""
        answer = read_leg_answer(frames[0]) if self._is_leg.get(box_id, False) is not False else None
        if answer is not None:
            self._is_leg[box_id] = True
        return answer

    def responses(self, box_id: str, answer: LegAnswer, frames: list[bytes]) -> Iterator[list[bytes]]:
        """Yields the messages for 9899: identity, Response, Cycles, for each request.

        Raises:
            FrameError: a frame of it cannot be read.
        """
        if answer.box_id not in (None, box_id):
            self._counters.add("foreign", label=box_id)
            return
        if answer.kind == RequestDataMessage.PONG:
            self._counters.add("leg_pongs", label=box_id)
            return
        read = self._reads.get(answer.number)
        identities = None if read is None else read.identities.pop(box_id, None)
        if read is None or identities is None:
            self._counters.add("responses_not_asked_for", label=box_id)
            return
        if not read.identities:
            del self._reads[answer.number]
        made = response_from_leg(answer, box_id, frames[1:])
        self._counters.add("responses", label=box_id)
        for identity in identities:
            yield [identity.encode("utf-8"), *made]
