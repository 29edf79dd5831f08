"""Home Assistant's discovery: one device per Box and group, one entity per quantity.

One retained message per entity, the form that every version of Home Assistant reads:
`<discovery>/sensor/opq_<gateway>_box3/rms_v/config`.
Source: Home Assistant, MQTT integration, "MQTT discovery" and "Sensor".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from opq_gateway.gateway_status import BoxStatus
from opq_gateway.mqtt.board import MqttMessage, place
from opq_proto.link.messages import Hello
from opq_proto.measurement.fields import QUANTITIES, MqttEntity

MAKER = "Open Power Quality"


@dataclass(frozen=True, slots=True)
class Entity:
    """One quantity as Home Assistant shows it."""

    key: str
    name: str
    topic: str
    """Topic below the topic of the device."""
    template: str
    unit: str | None = None
    device_class: str | None = None
    digits: int | None = None
    diagnostic: bool = False
    kind: str = "sensor"

    def more(self) -> dict[str, object]:
        """Fields that not every entity has."""
        facts: dict[str, object] = {}
        if self.unit is not None:
            facts["unit_of_measurement"] = self.unit
        if self.device_class is not None:
            facts["device_class"] = self.device_class
        if self.kind == "sensor" and self.digits is not None:
            facts["state_class"] = "measurement"
            facts["suggested_display_precision"] = self.digits
        if self.diagnostic:
            facts["entity_category"] = "diagnostic"
        return facts


def _value(name: str, factor: str = "") -> str:
    """Template for a value that may be absent; the entity is then unknown."""
    return f"{{{{ value_json.{name}{factor} if value_json.{name} is defined else None }}}}"


def _entity(value: str, shown: MqttEntity) -> Entity:
    template = _value(value, " * 100" if shown.percent else "")
    return Entity(shown.key, shown.words, shown.topic, template, shown.unit, shown.device_class, shown.digits)


BOX = (
    *(_entity(each.value, each.mqtt) for each in QUANTITIES if each.value and each.mqtt),
    Entity("plt", "Flicker Plt", "2h_flicker", _value("plt"), None, None, 3),
    Entity(
        "disturbance",
        "Disturbance",
        "disturbance",
        "{{ 'ON' if value_json.ongoing else 'OFF' }}",
        device_class="problem",
        kind="binary_sensor",
    ),
    Entity("last", "Last disturbance", "disturbance", _value("kind")),
    Entity("measured_hour", "Measured, last hour", "measured", _value("hour", " * 100"), "%", None, 1, True),
    Entity("measured_day", "Measured, last day", "measured", _value("day", " * 100"), "%", None, 1, True),
    Entity("source", "Time source", "3s", _value("source"), diagnostic=True),
)
GROUP = (
    Entity("u2", "Voltage unbalance", "3s", _value("u2_ratio", " * 100"), "%", None, 3),
    Entity("positive_v", "Positive sequence", "3s", _value("positive_v"), "V", "voltage", 2),
)


class Discovery:
    """Messages for all devices; a Box's are due again when its hello changes."""

    def __init__(
        self, prefix: str, gateway: str, base: str, boxes: Mapping[str, BoxStatus], groups: Sequence[str]
    ) -> None:
        """An empty `prefix` turns discovery off."""
        self._prefix, self._gateway, self._base = prefix, gateway, base
        self._boxes, self._groups = boxes, groups
        self._sent: dict[str, Hello | None] = {}

    def repeat_all(self) -> None:
        """Sends everything again, for a broker or a Home Assistant that has lost it."""
        self._sent.clear()

    def topics(self) -> frozenset[str]:
        """The topics of all entities of the present configuration."""
        levels = ((self._boxes, BOX, True), (self._groups, GROUP, False))
        return frozenset(
            self._topic(place(name, is_box), entity)
            for names, entities, is_box in levels
            for name in (names if self._prefix else ())
            for entity in entities
        )

    def _topic(self, level: str, entity: Entity) -> str:
        return f"{self._prefix}/{entity.kind}/opq_{self._gateway}_{level}/{entity.key}/config"

    def due(self) -> list[MqttMessage]:
        """The messages to publish now; they count as published."""
        messages: list[MqttMessage] = []
        if not self._prefix:
            return messages
        for box_id, status in self._boxes.items():
            hello = status.hello
            if box_id not in self._sent or self._sent[box_id] != hello:
                self._sent[box_id] = hello
                messages += self._device(place(box_id, True), f"OPQ Box {box_id}", BOX, hello, True)
        for name in self._groups:
            if name not in self._sent:
                self._sent[name] = None
                messages += self._device(place(name, False), f"OPQ {name}", GROUP, None, False)
        return messages

    def _device(
        self, level: str, name: str, entities: Sequence[Entity], hello: Hello | None, has_status: bool
    ) -> list[MqttMessage]:
        identity = f"opq_{self._gateway}_{level}"
        device = {"identifiers": [identity], "name": name, "manufacturer": MAKER}
        if hello is not None:
            device |= {"model": hello.hardware, "sw_version": hello.firmware}
        topics = [f"{self._base}/status"] + ([f"{self._base}/{level}/status"] if has_status else [])
        return [
            MqttMessage(
                self._topic(level, entity),
                msgspec.json.encode(
                    {
                        "name": entity.name,
                        "unique_id": f"{identity}_{entity.key}",
                        "state_topic": f"{self._base}/{level}/{entity.topic}",
                        "value_template": entity.template,
                        "availability": [{"topic": topic} for topic in topics],
                        "availability_mode": "all",
                        "device": device,
                        "origin": {"name": "opq-toolkit"},
                        **entity.more(),
                    }
                ),
            )
            for entity in entities
        ]
