"""What a Box could not accept, hold or send since its start: counts of Losses and Health, by name and in
words.

Names are those of opq_lost_t (device/cmodules/link/messages.h, without OPQ_LOST_), in the order of the wire:
new ones are added at the end, none is removed.
"""

from collections.abc import Mapping
from types import MappingProxyType

from opq_proto.link.messages import Health, Losses

LOSSES: Mapping[str, str] = MappingProxyType(
    {
        "link_overruns": "times that bytes of the gateway were lost: the Box's UART was read too late",
        "link_noise": "bytes of the gateway with noise or without a stop bit",
        "link_refused": "bytes of the gateway that found the Box's receive queue full",
        "link_malformed": "frames of the gateway with an unknown type or bad payload",
        "link_oversize": "runs of the gateway's bytes without a delimiter, longer than any frame",
        "link_gaps": "places where the sequence of the gateway's frames jumped",
        "commands": "commands and pieces of an update that found the Box's inbox full",
        "gps_overruns": "times that bytes of its GPS receiver were lost: the UART was read too late",
        "gps_noise": "bytes of its GPS receiver with noise or without a stop bit",
        "gps_refused": "bytes of its GPS receiver that found the receive queue full",
        "gps_damaged": "messages of its GPS receiver that were damaged, cut or too long",
        "pps_overtaken": "GPS pulses lost: the next came before they were read",
        "pps_dropped": "GPS pulses that found their queue full",
        "pps_rejected": "GPS pulses rejected as wrong, or reported too late",
        "blocks": "blocks of samples that found the line's queue full; kept for a Resend",
        "resends_gone": "blocks asked for again that the Box no longer had",
        "resends": "requests for samples refused: too many at once",
        "figures": "the Box's own figures and crossings overwritten before they were sent",
        "triggers": "conversions triggered off their grid",
        "prints": "bytes of tracebacks replaced by newer ones before a prompt showed them",
    }
)
HEALTH_LOSSES: Mapping[str, str] = MappingProxyType(
    {
        "overruns": "times that samples went missing in the Box",
        "missing_samples": "samples that went missing in the Box",
        "crc_errors": "frames of the gateway with a wrong checksum",
        "tx_dropped": "bytes that the Box could not send: its queue was full",
    }
)
"""Losses that every Health has, by its fields."""
LOST_COUNTERS = (
    *(
        "overruns",
        "missing_samples",
        "tx_dropped",
        "link_overruns",
        "link_refused",
        "commands",
        "gps_overruns",
    ),
    *("gps_refused", "pps_overtaken", "pps_dropped", "figures"),
)
"""Losses that are final. The others are uncertain, are sent again, or are normal: a gateway that restarts
begins its sequence again, and a receiver that searches for satellites sends pulses that are rejected."""
LOSS_WORDS: Mapping[str, str] = MappingProxyType({**HEALTH_LOSSES, **LOSSES})


def box_losses(health: Health | None, losses: Losses | None) -> dict[str, int]:
    """Returns name -> count since the Box's start, without counts that it has not reported.

    >>> box_losses(None, Losses((3, 0)))
    {'link_overruns': 3, 'link_noise': 0}
    """
    found = {} if health is None else {name: int(getattr(health, name)) for name in HEALTH_LOSSES}
    return found if losses is None else found | dict(zip(LOSSES, losses.counts, strict=False))


def losses_text(counts: Mapping[str, int]) -> str:
    """Returns one line for people about final losses; empty where there are none.

    >>> losses_text({"pps_dropped": 2, "pps_rejected": 5})
    'lost in the Box since its start: 2 GPS pulses that found their queue full'
    """
    gone = [f"{counts[name]:,} {LOSS_WORDS[name]}" for name in LOST_COUNTERS if counts.get(name)]
    return f"lost in the Box since its start: {'; '.join(gone)}" if gone else ""
