"""Orders: what Makai asks of the Box itself, and firmware by pieces, against a Box that misbehaves."""

import base64
import hashlib
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from opq_gateway.commands.orders import NO_UPDATES, BoxOrders
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.serial_side.box_commands import Argument, BoxAnswer, Done
from opq_proto.firmware.image import MAX_FILE_BYTES, Slot, make_image, pack_bundle
from opq_proto.kit.clock import ClockState
from opq_proto.link.log_codes import UPDATE_CONFIRMED, UPDATE_ROLLED_BACK
from opq_proto.link.messages import Hello, Log, Operation, Status
from opq_proto.link.user_program import PIECE_BYTES
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, TimeSource
from opq_proto.wire.order_proof import ProofError
from opq_proto.wire.prompt_session import SessionCheck, SessionKey, opening_key

IMAGES = {
    slot: make_image(bytes([slot]) * size, hardware="opqbox", version=0x10000, slot=slot, sign=None)
    for slot, size in ((Slot.A, 3000), (Slot.B, 4100))
}

HELLO = Hello(1, 1, 7, 12_000_000, 0.0068, 120.0, 60.0, 15.0, 200, 120_000, "test", "1.0.0")


@dataclass
class Box:
    """The far end: answers at once, as told."""

    open: bool = True
    said: list[tuple[Operation, str]] = field(default_factory=list)
    slot: str = "B"
    flash: bytearray = field(default_factory=bytearray)
    silent: int = 0
    """So many pieces get no answer."""
    busy: int = 0
    refuse: BoxAnswer | None = None
    program: bytes = b""
    received: bytes = b""
    prompt: str | None = None
    has_prompt: bool = True
    """Firmware does not answer an operation that it does not know."""
    lost: int = 0
    """Answers that do not arrive, next."""
    held: list[Callable[[], None]] | None = None
    """Answers wait here."""

    def send_command(self, operation: Operation, argument: Argument, timeout_s: float, done: Done) -> bool:
        text = argument if isinstance(argument, str) else argument()
        self.said.append((operation, text))
        if self.open:
            answer = self.refuse or self._answer(operation, text)
            if self.lost:
                self.lost -= 1
                answer = BoxAnswer(None)
            if self.held is None:
                done(answer)
            else:
                self.held.append(lambda: done(answer))
        return self.open

    def _answer(self, operation: Operation, argument: str) -> BoxAnswer:
        if operation is Operation.UPDATE_BEGIN:
            return BoxAnswer(Status.DONE, self.slot)
        if operation is Operation.PROGRAM:
            return self._program_answer(argument)
        if operation is Operation.PROMPT:
            return self._prompt_answer(argument) if self.has_prompt else BoxAnswer(None)
        if operation is Operation.GET_SETTINGS:
            return BoxAnswer(Status.DONE, "", (("gain", "1"), ("led", "on")))
        if operation is Operation.PUT_SETTING and argument.startswith("no"):
            return BoxAnswer(Status.BAD_ARGUMENT, "no setting no")
        return BoxAnswer(Status.DONE)

    def _program_answer(self, argument: str) -> BoxAnswer:
        """As device/app/user_program.py answers; a text with `!` in it does not compile."""
        word, _, rest = argument.partition(" ")
        if word == "put":
            self.received = b""
        elif word.isdigit():
            self.received += base64.b64decode(rest)
            return BoxAnswer(Status.DONE, str(len(self.received)))
        elif word == "end" and b"!" in self.received:
            return BoxAnswer(Status.FAILED, "SyntaxError: invalid syntax, line 1")
        elif word in ("end", "remove"):
            self.program = self.received if word == "end" else b""
        elif word == "get":
            piece = self.program[int(rest) :][:PIECE_BYTES]
            return BoxAnswer(Status.DONE, base64.b64encode(piece).decode())
        else:
            length = len(self.program)
            return BoxAnswer(Status.DONE, f"{min(length, 1)} {length} {zlib.crc32(self.program)} ")
        return BoxAnswer(Status.DONE)

    def _prompt_answer(self, argument: str) -> BoxAnswer:
        """As device/app/prompt_session.py answers."""
        if argument.startswith("open ") and self.prompt in (None, argument):
            self.prompt = argument
        elif argument.startswith("open "):
            return BoxAnswer(Status.BUSY, "a prompt is open")
        elif argument == "close":
            self.prompt = None
        elif self.prompt is None:
            return BoxAnswer(Status.FAILED, "no prompt is open")
        else:
            return BoxAnswer(Status.DONE, "1 0 Pg==")
        return BoxAnswer(Status.DONE)

    def send_update_data(self, offset: int, data: bytes, timeout_s: float, done: Done) -> bool:
        if not self.open:
            return False
        if self.silent:
            self.silent -= 1
            done(BoxAnswer(None))
        elif self.busy:
            self.busy -= 1
            done(BoxAnswer(Status.BUSY, str(len(self.flash))))
        else:
            if offset == len(self.flash):
                self.flash += data
            done(BoxAnswer(Status.DONE, str(len(self.flash))))
        return True


class Bench:
    """Orders with a Box, a clock and a queue that the test turns by hand."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.now_s = 0.0
        self.waiting: list[Callable[[], None]] = []
        self.known = BoxStatus("1", 60)
        self.system = ClockState(TimeSource.NTP, 5_000_000)
        self.orders = BoxOrders(
            box, self.later, lambda: 1_700_000_000_123_456_789, self.known, system=lambda: self.system
        )

    def later(self, do: Callable[[], None]) -> bool:
        self.waiting.append(do)
        return True

    def turn(self, seconds: float) -> None:
        end = self.now_s + seconds
        while self.now_s < end:
            while self.waiting:
                self.waiting.pop(0)()
            self.orders.tick(self.now_s)
            self.now_s += 0.25
        while self.waiting:
            self.waiting.pop(0)()

    def order(self, plugin: str, message: str = "", number: str = "") -> tuple[bool, str]:
        """`number`: what the answer begins with."""
        replies: list[tuple[bool, str]] = []
        assert self.orders.execute(plugin, message, lambda ok, detail: replies.append((ok, detail)))
        self.turn(0.25)
        [(ok, detail)] = replies
        assert detail.startswith(number)
        return ok, detail[len(number) :]

    def collect(self, file: bytes) -> None:
        assert self.order("opq-update", f"begin {len(file)} {hashlib.sha256(file).hexdigest()}") == (
            True,
            "0",
        )
        for at in range(0, len(file), 700):
            piece = base64.b64encode(file[at : at + 700]).decode()
            assert self.order("opq-update", f"data {at} {piece}")[0]

    @property
    def status(self) -> dict[str, object]:
        ok, detail = self.order("opq-update", "status")
        assert ok
        return json.loads(detail)


def test_reset_time_and_settings_reach_the_box() -> None:
    bench = Bench(Box())
    assert bench.order("opq-reset") == (True, "")
    assert bench.order("opq-time") == (True, "")
    assert bench.order("opq-time", "1700000000999") == (True, "")
    assert bench.order("opq-settings", "led=off") == (True, "")
    assert json.loads(bench.order("opq-settings")[1]) == {"gain": "1", "led": "on"}
    assert bench.box.said == [
        (Operation.RESET, ""),
        (Operation.SYNC_TIME, "1700000000123456789,35000000"),
        (Operation.SYNC_TIME, "1700000000999000000,4000000000,free"),
        (Operation.PUT_SETTING, "led=off"),
        (Operation.GET_SETTINGS, ""),
    ]


def test_an_unsynchronised_gateways_time_is_free() -> None:
    bench = Bench(Box())
    bench.system = ClockState(TimeSource.FREE, UNKNOWN_UNCERTAINTY_NS)
    assert bench.order("opq-time") == (True, "")
    assert bench.box.said == [(Operation.SYNC_TIME, "1700000000123456789,4000000000,free")]


def put(bench: Bench, text: bytes) -> tuple[bool, str]:
    return bench.order("opq-program", f"put {base64.b64encode(text).decode()}")


def test_a_program_is_put_shown_and_removed() -> None:
    bench = Bench(Box())
    text = "# Höhe\n".encode() * 100
    assert put(bench, text) == (True, "") and bench.box.program == text
    shown = json.loads(bench.order("opq-program", "show")[1])
    assert shown == {
        "state": "runs",
        "bytes": 800,
        "crc32": f"{zlib.crc32(text):08x}",
        "text": text.decode(),
    }
    assert bench.order("opq-program", "remove") == (True, "")
    assert json.loads(bench.order("opq-program")[1]) == {"state": "none"}


def opened(bench: Bench) -> SessionKey:
    key = SessionKey("1")
    assert bench.order("opq-prompt", key.opening()) == (True, "opened")
    return key


def exchanged(bench: Bench, message: str) -> tuple[bool, str]:
    """The answer, which begins with the number of the message."""
    return bench.order("opq-prompt", message, f"{message.partition(' ')[0]} ")


def refused(bench: Bench, message: str) -> str:
    """Why nothing of it reaches the Box."""
    said = len(bench.box.said)
    with pytest.raises(ProofError) as raised:
        bench.order("opq-prompt", message)
    assert len(bench.box.said) == said
    return str(raised.value)


def test_a_prompt_is_passed_on_for_its_key() -> None:
    bench = Bench(Box())
    assert refused(bench, SessionKey("1").signed("0 0 YQ==")).endswith(" no prompt is open")
    key = opened(bench)
    assert exchanged(bench, key.signed("0 0 YQ==")) == (True, "1 0 Pg==")
    assert bench.order("opq-prompt", SessionKey("1").opening()) == (False, "a prompt is open")
    assert bench.order("opq-prompt", "open")[1].startswith("want open <public key>")
    assert exchanged(bench, key.signed("close")) == (True, "0") and bench.box.prompt is None
    assert refused(bench, key.signed("0 0 YQ==")).endswith(" no prompt is open")
    assert [argument for _, argument in bench.box.said][1:] == ["0 0 YQ==", bench.box.said[2][1], "close"]


def test_who_reads_a_session_types_nothing_in_it() -> None:
    """With all that went over the broker: copies, and messages of another key, number, Box or argument."""
    bench = Bench(Box())
    key = opened(bench)
    seen = [key.signed("0 0 YQ=="), key.signed("1 0 Yg==")]
    for each in seen:
        assert exchanged(bench, each)[0]
    for each in seen:
        assert refused(bench, each) == "this exchange with the prompt was sent before"
    number, signature, argument = seen[1].split(" ", 2)
    elsewhere = SessionKey("4")
    elsewhere._key = key._key
    forged = (
        f"3 {signature} {argument}",
        f"{number} {signature} {argument}YQ==",
        SessionKey("1").signed("2 0 Yg=="),
        elsewhere.signed("2 0 Yg=="),
        "9" * 15 + f" {'A' * 86}== close",
        "close",
        argument,
        "",
    )
    for message in forged:
        assert refused(bench, message) == "it is not signed by the key of the open prompt", message
    assert exchanged(bench, key.signed("2 0 Yg=="))[0], "its client goes on"
    assert exchanged(bench, key.signed("close")) == (True, "10")


def test_a_later_number_may_come_first() -> None:
    """An exchange that was given up and overtaken is not carried out any more."""
    bench = Bench(Box())
    key = opened(bench)
    late, next_one = key.signed("0 0 YQ=="), key.signed("0 0 YQ==")
    assert exchanged(bench, next_one)[0]
    assert refused(bench, late) == "this exchange with the prompt was sent before"


@given(st.text() | st.builds(lambda number, rest: f"{number} {'A' * 86}== {rest}", st.integers(), st.text()))
def test_any_message_is_refused_or_opens(message: str) -> None:
    bench = Bench(Box())
    opened(bench)
    if message.split(" ")[0] == "open":
        assert not bench.order("opq-prompt", message)[0]
    else:
        refused(bench, message)


@given(st.text(st.characters(codec="utf-8"), max_size=300))
def test_a_signed_argument_arrives_unchanged(argument: str) -> None:
    key = SessionKey("1")
    public = opening_key(key.opening())
    assert public is not None
    assert SessionCheck("1", public).argument(key.signed(argument)) == argument


@pytest.mark.parametrize(
    "argument", ["open 5", "0 0", "0 0 YQ== 1", "0 0 YQ==\nopen 5", "-1 0 YQ==", "0 0 " + "A" * 300, ""]
)
def test_a_prompts_key_opens_no_session(argument: str) -> None:
    bench = Bench(Box())
    key = opened(bench)
    said = len(bench.box.said)
    ok, reason = exchanged(bench, key.signed(argument))
    assert not ok and reason.startswith("want <typed>") and len(bench.box.said) == said


def test_a_closed_sessions_key_is_over() -> None:
    """The Box closes one in which nothing is sent; the next is opened by somebody else."""
    bench = Bench(Box())
    key = opened(bench)
    bench.box.prompt = None
    assert exchanged(bench, key.signed("0 0 YQ==")) == (False, "no prompt is open")
    bench.box.prompt = "open 7"
    assert refused(bench, key.signed("0 0 YQ==")).endswith(" no prompt is open")


def test_a_lost_answer_to_open_is_asked_again() -> None:
    bench = Bench(Box(lost=1))
    key = opened(bench)
    [first, second] = bench.box.said
    assert first == second
    assert exchanged(bench, key.signed("0 0 YQ==")) == (True, "1 0 Pg==")


def test_an_opening_prompt_takes_no_former_exchange() -> None:
    """The Box has closed A's session; A's next exchange comes while B's is being opened."""
    bench = Bench(Box())
    former, key = opened(bench), SessionKey("1")
    refused(bench, SessionKey("1").signed("0 0 YQ=="))
    bench.box.prompt, bench.box.held = None, []
    replies: list[tuple[bool, str]] = []

    def send(message: str) -> None:
        bench.orders.execute("opq-prompt", message, lambda ok, detail: replies.append((ok, detail)))

    send(key.opening())
    for message in (former.signed("0 0 YQ=="), former.signed("close"), SessionKey("1").opening()):
        send(message)
    said = "a prompt is being opened"
    assert replies == [(False, f"1 {said}"), (False, f"2 {said}"), (False, said)]
    assert len(bench.box.said) == 2
    bench.box.held.pop()()
    bench.box.held = None
    bench.turn(0.25)
    assert replies[-1] == (True, "opened")
    assert refused(bench, former.signed("close")).startswith("it is not signed")
    assert exchanged(bench, key.signed("close")) == (True, "1")


def test_a_replaced_session_is_logged_as_closed() -> None:
    with capture_logs() as lines:
        bench = Bench(Box())
        opened(bench)
        refused(bench, SessionKey("1").signed("0 0 YQ=="))
        bench.box.prompt = None
        opened(bench)
    assert [each["refused"] for each in lines if each["event"] == "prompt.closed"] == [1]


def test_a_box_without_a_prompt_says_so() -> None:
    bench, key = Bench(Box(refuse=BoxAnswer(Status.UNKNOWN))), SessionKey("1")
    said = "its firmware has no prompt over the line; update it"
    assert bench.order("opq-prompt", key.opening()) == (False, said)
    bench.box.refuse = BoxAnswer(None)
    assert bench.order("opq-prompt", key.opening()) == (False, "the Box did not answer within 4.5 s")
    bench.box.refuse, bench.box.has_prompt = None, False
    assert bench.order("opq-prompt", key.opening()) == (
        False,
        f"{said} (it answers other commands, and not this one)",
    )
    bench.box.open = False
    assert bench.order("opq-prompt", key.opening())[1].startswith("the Box's port is not open")


def test_a_refused_program_says_why() -> None:
    bench = Bench(Box())
    assert put(bench, b"good") == (True, "")
    assert put(bench, b"!") == (False, "SyntaxError: invalid syntax, line 1")
    assert bench.box.program == b"good"
    assert put(bench, b"x" * 4065) == (False, "box.py has 4065 bytes; want 1 to 4064")
    assert "UTF-8" in put(bench, b"\xff")[1]
    assert bench.order("opq-program", "put ?")[1].startswith("the program is not base64")
    assert "want put, show, remove" in bench.order("opq-program", "start")[1]
    bench.box.refuse = BoxAnswer(Status.UNKNOWN)
    assert put(bench, b"good") == (False, "its firmware takes no program; update it")
    bench.box.refuse = BoxAnswer(None)
    assert bench.order("opq-program") == (False, "the Box did not answer within 5 s")


def test_a_refusal_says_what_the_box_said() -> None:
    bench = Bench(Box())
    assert bench.order("opq-settings", "nosuch=1") == (False, "bad argument: no setting no")
    assert not bench.order("opq-time", "tomorrow")[0] and not bench.order("opq-settings", "led")[0]
    bench.box.refuse = BoxAnswer(None)
    assert bench.order("opq-reset") == (False, "the Box did not answer within 3 s")
    bench.box.open = False
    assert not bench.order("opq-reset")[0]


def test_another_plugins_name_is_no_order() -> None:
    assert not Bench(Box()).orders.execute("VRMS Plugin", "", lambda ok, detail: None)


def test_the_wanted_slots_image_reaches_the_box() -> None:
    bench = Bench(Box(silent=3, busy=4))
    bench.collect(pack_bundle(IMAGES))
    assert bench.order("opq-update", "install") == (True, "erasing")
    assert bench.order("opq-update", "install") == (True, "sending"), "asked again: its answer was lost"
    bench.turn(20)
    assert bytes(bench.box.flash) == IMAGES[Slot.B]
    assert bench.status["state"] == "restarting" and bench.box.said[-1][0] is Operation.UPDATE_END


def test_a_box_that_erases_too_long_is_abandoned() -> None:
    bench = Bench(Box(busy=10**6))
    bench.collect(pack_bundle(IMAGES))
    bench.order("opq-update", "install")
    bench.turn(40)
    said = f"erases its flash, 0 of {len(IMAGES[Slot.B])} bytes written); it keeps its firmware"
    assert bench.status["state"] == "failed" and said in str(bench.status["reason"])


@pytest.mark.parametrize(
    ("code", "end"), [(UPDATE_CONFIRMED, "confirmed"), (UPDATE_ROLLED_BACK, "rolled back")]
)
def test_the_box_reports_its_firmwares_trial(code: int, end: str) -> None:
    bench = Bench(Box())
    bench.known.hello, bench.known.trial_end = HELLO, Log(UPDATE_CONFIRMED, 0, 0, 1)  # of another trial
    bench.collect(pack_bundle(IMAGES))
    bench.order("opq-update", "install")
    bench.turn(20)
    assert bench.status["state"] == "restarting"
    bench.known.hello = replace(HELLO, boot_id=8, firmware="1.1.0")
    assert (bench.status["state"], bench.status["firmware"]) == ("on trial", "1.1.0")
    bench.known.trial_end = Log(code, 0, 0, 10_000)
    assert bench.status["state"] == end
    assert bench.order("opq-update", f"begin 10 {'0' * 64}") == (True, "0") and bench.status["state"] != end


def test_progress_is_reported_while_the_box_is_written() -> None:
    bench = Bench(Box(silent=1))
    bench.collect(pack_bundle(IMAGES))
    bench.order("opq-update", "install")
    said = {"state": "sending", "bytes": len(IMAGES[Slot.B]), "done": 0, "reason": "", "firmware": ""}
    assert bench.status == said
    assert not bench.order("opq-update", f"begin 10 {'0' * 64}")[0]  # one at a time


def test_a_repeated_or_early_piece_is_corrected() -> None:
    bench = Bench(Box())
    bench.order("opq-update", f"begin 10 {'0' * 64}")
    assert bench.order("opq-update", "data 0 AAAA") == (True, "3")
    assert bench.order("opq-update", "data 0 AAAA") == (True, "3")
    assert bench.order("opq-update", "data 6 AAAA") == (True, "3")
    assert bench.order("opq-update", "data 3 AAAAAAAAAAAAAAAA") == (
        False,
        "more than the 10 bytes that were announced",
    )


def test_a_damaged_file_is_never_sent() -> None:
    bench = Bench(Box())
    file = pack_bundle(IMAGES)
    bench.collect(
        file[:-1] + bytes([file[-1] ^ 1])
    )  # sha256 is of what was sent: the bundle itself is judged
    ok, detail = bench.order("opq-update", "install")
    assert not ok or detail == "erasing"
    bench = Bench(Box())
    bench.order("opq-update", f"begin 3 {'0' * 64}")
    bench.order("opq-update", "data 0 AAAA")
    assert bench.order("opq-update", "install") == (
        False,
        "the file's SHA-256 is not the announced one; begin again",
    )
    assert bench.box.said == []


def test_a_vanished_box_ends_the_update() -> None:
    bench = Bench(Box())
    bench.collect(pack_bundle(IMAGES))
    bench.box.open = False
    bench.order("opq-update", "install")
    bench.turn(30)
    assert bench.status["state"] == "failed" and "port is not open" in str(bench.status["reason"])


def test_a_boxs_refusal_of_an_image_is_reported() -> None:
    bench = Bench(Box(refuse=BoxAnswer(Status.FAILED, "verdict 3")))
    bench.collect(pack_bundle(IMAGES))
    bench.order("opq-update", "install")
    assert (
        bench.status["state"] == "failed"
        and bench.status["reason"]
        and "verdict" not in str(bench.status["reason"])
    )


def test_a_lost_answer_is_requested_again() -> None:
    bench = Bench(Box())
    bench.collect(pack_bundle(IMAGES))
    room, lost = bench.later, [3]

    def full_at_times(do: Callable[[], None]) -> bool:
        lost[0] += 1
        return lost[0] % 4 != 0 and room(do)

    bench.orders.update._later = full_at_times
    bench.order("opq-update", "install")
    bench.turn(120)
    assert bench.box.flash == IMAGES[Slot.B]
    assert bench.status["state"] == "restarting"


def test_a_cancelled_update_takes_no_late_answer() -> None:
    box = Box()
    bench = Bench(box)
    late: list[Done] = []
    bench.collect(pack_bundle(IMAGES))
    box.send_command = lambda operation, argument, timeout_s, done: late.append(done) or True  # type: ignore[method-assign]
    bench.order("opq-update", "install")
    assert bench.order("opq-update", "cancel") == (True, "cancelled")
    late[0](BoxAnswer(Status.DONE, "A"))
    bench.turn(1)
    assert bench.status["state"] == "idle" and not box.flash


@given(st.text(max_size=200))
def test_no_message_breaks_an_update(message: str) -> None:
    bench = Bench(Box())
    for word in ("", "begin ", "data ", "data 0 ", "begin 5 "):
        bench.order("opq-update", word + message)
        bench.order("opq-settings", message)
    assert bench.status["state"] in ("idle", "collecting")


@pytest.mark.parametrize("size", ["0", str(MAX_FILE_BYTES + 1), "99999999999", "-1", "x"])
def test_a_size_that_cannot_be_is_refused(size: str) -> None:
    assert not Bench(Box()).order("opq-update", f"begin {size} {'0' * 64}")[0]


def test_a_gateway_looks_for_releases_on_request() -> None:
    bench, asked = Bench(Box()), []

    def look() -> tuple[bool, str]:
        asked.append(True)
        return True, "it looks now"

    assert bench.order("opq-update", "look") == (False, NO_UPDATES), "it has no repository"
    bench.orders = BoxOrders(bench.box, bench.later, lambda: 0, bench.known, look)
    assert bench.order("opq-update", "look") == (True, "it looks now") and asked == [True]
