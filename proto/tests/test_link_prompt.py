"""A prompt over the link: each byte is typed and printed once, though answers are lost and repeated."""

import base64
import random

import pytest

from opq_proto.link.prompt import PIECE_BYTES, PromptAnswerError, PromptStream


class Box:
    """As device/app/prompt_session.py: prints what is typed in capitals; takes and gives few bytes."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.taken = b""
        self.output = b""
        self.sent = 0
        self.piece = b""

    def answer(self, argument: str) -> str:
        typed, printed, encoded = argument.split(" ")
        data = base64.b64decode(encoded)
        known, ahead = len(self.taken) - int(typed), int(printed) - self.sent
        assert len(argument) <= 255 and 0 <= known <= len(data) and 0 <= ahead <= len(self.piece)
        fresh = data[known : known + self.dice.randrange(PIECE_BYTES)]
        self.taken += fresh
        self.output += fresh.upper()
        if ahead or not self.piece:
            self.piece, self.sent = self.piece[ahead:], int(printed)
            room = self.dice.randrange(PIECE_BYTES - len(self.piece) + 1)
            self.piece, self.output = self.piece + self.output[:room], self.output[room:]
        return f"{len(self.taken)} {self.sent} {base64.b64encode(self.piece).decode()}"


@pytest.mark.parametrize("seed", range(20))
def test_lost_answers_lose_no_byte(seed: int) -> None:
    dice = random.Random(seed)
    box, stream, printed = Box(dice), PromptStream(), b""
    text = bytes(dice.choice(b"abcdefgh\n") for _ in range(3000))
    stream.put(text)
    while printed != text.upper():
        detail = box.answer(stream.argument())
        if dice.random() < 0.3:
            detail = box.answer(stream.argument())  # the first answer was lost, and the command is repeated
        printed += stream.accept(detail)
    assert box.taken == text and stream.waiting == 0


@pytest.mark.parametrize(
    "detail",
    ["", "0 0", "x 0 ", "0 0 %", "1 0 ", "0 1 ", "0 -5 QQ==", "0_0 0 ", "\u0660 0 ", "0 0 " + "QUFB" * 57],
)
def test_answers_of_another_prompt_are_refused(detail: str) -> None:
    with pytest.raises(PromptAnswerError):
        PromptStream().accept(detail)


def test_what_nobody_reads_stays_at_the_box() -> None:
    """Without `more` the last piece comes again, of which nothing is new."""
    box, stream = Box(random.Random(1)), PromptStream()
    box.output = b"x" * 1000
    first = b""
    while not first:
        first = stream.accept(box.answer(stream.argument()))
    left = len(box.output)
    assert [stream.accept(box.answer(stream.argument(more=False))) for _ in range(5)] == [b""] * 5
    assert len(box.output) == left
