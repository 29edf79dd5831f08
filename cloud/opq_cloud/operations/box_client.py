"""Requests facts from a Box through the acquisition broker: versions, rate, losses, settings.

It also sets the rate and the settings, and checks the code that the Box's gateway shows. The commands are the
same as those of `opq-tools box` and Mauka's BoxOptimizationPlugin. A silent Box delays no other Box.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import msgspec

from opq_cloud.operations.service_addresses import ServiceAddresses
from opq_proto.errors import FrameError, OpqError
from opq_proto.kit.plain_text import one_line
from opq_proto.link.box_losses import LOSS_WORDS, LOSSES
from opq_proto.wire.command_client import BoxRefusedError, CommandClient, UnansweredError
from opq_proto.wire.frames import (
    CLAIM_PLUGIN,
    NUMBER_SETTING,
    claim_accepted,
    info_command,
    plugin_command,
    rate_command,
)

MIN_CYCLES = 1
"""Cycles per Measurement, at least; a gateway refuses fewer."""
MAX_CYCLES = 600
"""Cycles per Measurement, at most; a gateway refuses more."""
MAX_LOSSES = 100
MAX_TEXT = 2_000
"""Letters of one text of a Box that are read."""
NUMBER = NUMBER_SETTING
"""The setting that no page changes: a mistake could not be corrected from here."""
CONNECT_S = 2.0
ANSWER_S = 4.0
"""A gateway waits 3 s for values that its Box stores itself."""
_PLACES = {name: place for place, name in enumerate(LOSS_WORDS)}


class BoxClientError(OpqError):
    """The Box was not asked, or did not answer."""


@dataclass(frozen=True, slots=True)
class BoxReport:
    """What a Box and its gateway report about themselves; empty or None where they report nothing."""

    cycles: int | None
    """Cycles per Measurement."""
    firmware: str
    hardware: str
    software: str
    """The gateway's version."""
    addresses: tuple[str, ...]
    counted: tuple[tuple[int, str], ...] = ()
    """The Box's losses since its start, zeros included: (how many, what)."""
    counts_losses: bool = False
    """Whether its firmware counts everything that it may lose."""
    settings: Mapping[str, str] = field(default_factory=dict)
    settings_trouble: str = ""
    """Why there are no settings."""

    @property
    def lost(self) -> tuple[tuple[int, str], ...]:
        """The losses without zeros."""
        return tuple(each for each in self.counted if each[0])


@dataclass(frozen=True, slots=True)
class RateChange:
    """Cycles per Measurement, as the Box reports them; `after` is None where it does not report them."""

    before: int | None
    after: int | None


class BoxClient:
    """Asks Boxes, from any thread; a Box that is being asked is not asked a second time meanwhile."""

    def __init__(self, addresses: ServiceAddresses) -> None:
        self._addresses = addresses
        self._lock = threading.Lock()
        self._busy: set[str] = set()
        """Boxes that are being asked."""

    def read_info(self, box_id: str) -> BoxReport:
        """Like `read_info_and_settings`, without the settings."""
        with self._connection(box_id) as client:
            return _read_report(client, box_id)

    def read_info_and_settings(self, box_id: str) -> BoxReport:
        """What the Box reports, with its settings. Raises BoxClientError with the reason."""
        with self._connection(box_id) as client:
            report = _read_report(client, box_id)
            try:
                return replace(report, settings=_settings(client, box_id))
            except (UnansweredError, BoxRefusedError) as error:
                return replace(report, settings_trouble=str(error)[:500])

    def set_setting(self, box_id: str, key: str, value: str) -> tuple[str, str]:
        """Sets a setting; the Box checks it. Returns the old and the new value. Raises BoxClientError."""
        with self._connection(box_id) as client:
            before = _settings(client, box_id)
            if key == NUMBER:
                raise BoxClientError("with another number its gateway would not recognise it as this Box")
            if key not in before:
                raise BoxClientError(f"Box {box_id} has no setting {key or 'without a name'}")
            client.send_order(box_id, "opq-settings", f"{key}={value}", ANSWER_S)
            return before[key], _settings(client, box_id).get(key, value)

    def set_rate(self, box_id: str, cycles: int) -> RateChange:
        """Reads the rate, sets it, and reads it again, because a Box that refuses answers in the same way.

        Raises:
            BoxClientError: no answer. Where its text says so, the rate may have been set all the same.
        """
        with self._connection(box_id) as client:
            before = _read_report(client, box_id).cycles
            try:
                answer = client.send_command(rate_command(box_id, cycles, client.identity), ANSWER_S)
                after = _read_report(client, box_id).cycles
            except UnansweredError as error:
                text = f"{cycles} cycles were sent and not confirmed: {error}"
                raise BoxClientError(text) from error
        return RateChange(answer.message_rate_reponse.old_rate_cycles or before, after)

    def spend_claim_code(self, box_id: str, code: str) -> bool:
        """Whether the Box's gateway shows this code; the gateway then stops showing it.

        The broker passes only answers of a sender that has the Box's key. Raises BoxClientError.
        """
        with self._connection(box_id) as client:
            command = plugin_command(box_id, CLAIM_PLUGIN, code, client.identity)
            answer = client.send_command(command, ANSWER_S).command_to_plugin_response
        return bool(answer.ok) and answer.detail == claim_accepted(box_id)

    @contextmanager
    def _connection(self, box_id: str) -> Iterator[CommandClient]:
        commands, answers = self._addresses.commands, self._addresses.answers
        if not commands or not answers:
            raise BoxClientError(
                "this View has no address of an acquisition broker; it runs without its cloud's configuration"
            )
        with self._lock:
            if box_id in self._busy:
                raise BoxClientError(f"Box {box_id} is being asked; try again in a few seconds")
            self._busy.add(box_id)
        try:
            with CommandClient(commands, answers, CONNECT_S) as client:
                yield client
        except (UnansweredError, BoxRefusedError, FrameError) as error:
            raise BoxClientError(str(error)) from error
        finally:
            with self._lock:
                self._busy.discard(box_id)


def checked_cycles(text: str) -> int:
    """The typed number of cycles. Raises ValueError with a sentence."""
    cycles = int(text) if text.isascii() and text.isdigit() and len(text) <= 4 else 0
    if not MIN_CYCLES <= cycles <= MAX_CYCLES:
        raise ValueError(
            f"The measurement rate is {text[:20] or 'empty'}; "
            f"want a whole number of cycles from {MIN_CYCLES} to {MAX_CYCLES}."
        )
    return cycles


def _loss_place(loss: tuple[str, int]) -> tuple[int, str]:
    """A sort key: the order of LOSS_WORDS, then losses that it does not name."""
    name = loss[0]
    return _PLACES.get(name, len(_PLACES)), name


def _read_report(client: CommandClient, box_id: str) -> BoxReport:
    info = client.send_command(info_command(box_id, client.identity), ANSWER_S).info_response
    return BoxReport(
        info.measurement_rate or None,
        _shown(info.firmware, 60),
        _shown(info.hardware, 60),
        _shown(info.software, 60),
        tuple(_shown(each, 60) for each in info.ip[:MAX_TEXT].split()[:10]),
        tuple(
            (count, LOSS_WORDS.get(name) or _shown(name, 60).replace("_", " "))
            for name, count in sorted(info.losses.items(), key=_loss_place)[:MAX_LOSSES]
        ),
        any(name in LOSSES for name in info.losses),
    )


def _settings(client: CommandClient, box_id: str) -> dict[str, str]:
    try:
        found = msgspec.json.decode(client.send_order(box_id, "opq-settings", "", ANSWER_S), type=dict)
    except (msgspec.MsgspecError, RecursionError):
        return {}
    return {_shown(key, 60): _shown(str(value), 200) for key, value in list(found.items())[:100]}


def _shown(text: str, most: int) -> str:
    """Text of a Box as one line that a page can show."""
    return one_line(text[:MAX_TEXT])[:most]
