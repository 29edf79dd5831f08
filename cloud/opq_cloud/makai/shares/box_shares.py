"""Which share of the Boxes a triggering service has: `share = "2/5"`. Pure.

Boxes whose topics begin alike stay together: 1230 to 1239, and 12300 to 12399. So a share subscribes to some
of a thousand beginnings, and the broker sends it nothing else. A beginning belongs to the present share
whose number mixed with it is largest (rendezvous hashing): all services compute the same owner without
communication, and when one comes or goes only its own Boxes move.

Source: Thaler and Ravishankar 1998, IEEE/ACM Trans. Networking 6(1), 1-14; the mixing is SplitMix64's.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from opq_cloud.makai_settings import TriggeringServiceSection
from opq_proto.errors import ConfigError
from opq_proto.wire import topic

MAX_SHARES = 64
BEGINNINGS = tuple(b"%03d" % number for number in range(1000))
"""The first LENGTH digits of every Box's topic, which has four digits at least."""
LENGTH = 3
_MASK = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Share:
    """The `number`-th of `of` shares; the first one opens events for all."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @property
    def first(self) -> bool:
        return self.number == 1


def read_share(text: str) -> Share:
    """Returns the share that a text such as "2/5" names. Raises ConfigError where it names none."""
    number, _, of = text.partition("/")
    if number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of) <= MAX_SHARES:
        return Share(int(number), int(of))
    raise ConfigError(
        f'triggering_service.share is {text!r}; want NUMBER/OF, e.g. "2/5", of at most {MAX_SHARES}'
    )


def configured_share(config: TriggeringServiceSection) -> Share | None:
    """Returns the share from the settings; None: this service has all Boxes.

    Raises ConfigError where the text is no share, or stream rules are on, which compare all Boxes.
    """
    share = None if config.share is None else read_share(config.share)
    if share is not None and config.rules.enabled:
        raise ConfigError(
            "triggering_service.rules.enabled with triggering_service.share: rules see all Measurements; "
            "leave one of them out"
        )
    return share


def beginning_of(box_id: str) -> bytes:
    """Returns the beginning of the Box's topic."""
    return topic(box_id)[:LENGTH]


def owner_of(beginning: bytes, shares: Iterable[int]) -> int:
    """Returns the share that owns the beginning's Boxes; 0 where there is no share."""
    number = int(beginning) * 0x9E3779B97F4A7C15
    return max(shares, key=lambda share: (_mixed(number ^ share << 40), share), default=0)


def beginnings_of(number: int, shares: Iterable[int]) -> frozenset[bytes]:
    """Returns the beginnings of topics that belong to share `number`, where `shares` are present."""
    here = tuple(shares)
    return frozenset(each for each in BEGINNINGS if owner_of(each, here) == number)


def _mixed(value: int) -> int:
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & _MASK
    return value ^ value >> 31
