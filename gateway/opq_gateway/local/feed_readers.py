"""The configured readers of the feed on this machine: C37.118 stream and MQTT."""

import threading
from collections.abc import Callable, Mapping

from opq_gateway.config import Config, data_folder
from opq_gateway.counters import BoxCounters
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.measured_shares import MeasuredShares
from opq_gateway.measuring.feed import MeasuredFeed
from opq_gateway.mqtt.mqtt_feed import MqttPublisher
from opq_gateway.phasors.phasor_server import PhasorServer
from opq_gateway.phasors.stream import stream_of


class FeedReaders:
    """Attributes:
    runs: for each thread's name, the function that it runs until its stop event.
    """

    def __init__(
        self,
        config: Config,
        feed: MeasuredFeed,
        statuses: Mapping[str, BoxStatus],
        counters: Mapping[str, BoxCounters],
        shares: MeasuredShares,
    ) -> None:
        """Subscribes and binds.

        Raises:
            PortBusyError: the phasor stream's address cannot be used.
            ConfigError: more Boxes than one stream holds.
        """
        self.runs: dict[str, Callable[[threading.Event], None]] = {}
        self._closes: list[Callable[[], None]] = []
        first = counters[config.box[0].id]
        if config.phasors.endpoint is not None:
            stream = stream_of(config, statuses, counters)
            server = PhasorServer(config.phasors.endpoint, stream, feed, first)
            self.runs["phasors"] = server.run
            self._closes.append(server.close)
        if config.mqtt.host is not None:
            groups = [group.name for group in config.group]
            topics = data_folder(config) / "mqtt_topics.json"
            mqtt = MqttPublisher(config.mqtt, statuses, groups, feed, first, shares, topics_file=topics)
            self.runs["mqtt"] = mqtt.run

    def close(self) -> None:
        """Frees the addresses, after the end of the threads."""
        for close in self._closes:
            close()
