"""Two Maukas on one bus: the second is reported at its first heartbeat, and one publishes waveforms."""

import json

import structlog
from store_cases import TRIGGER, wave

from opq_cloud.mauka.bus.bus_messages import heartbeat, makai_event, new_message
from opq_cloud.mauka.bus_plugins.other_mauka import GONE_S, OtherMauka
from opq_cloud.mauka.bus_plugins.payloads import MakaiEventPlugin
from opq_cloud.mauka.bus_plugins.plugin_heartbeats import StatusPlugin
from opq_cloud.store import open_store


def originals_heartbeat(name):
    """As the original's base plug-in sends it."""
    message = new_message(name)
    message.heartbeat.plugin_state = "IDLE"
    message.heartbeat.status = json.dumps({"messages_received": 1, "messages_published": 0})
    return message


def test_a_second_mauka_is_reported_until_it_ends():
    now_s = [100.0]
    other = OtherMauka(lambda: now_s[0])
    status = StatusPlugin({}, ["MakaiEventPlugin", "LahaGcPlugin"], lambda: now_s[0], other)
    status.on_message("heartbeat", heartbeat("MakaiEventPlugin", "IDLE", 0, 0, {"interval_s": 1e6}))
    status.on_message("heartbeat", originals_heartbeat("ThdPlugin"))  # none of ours has this name
    assert [part.name for part in status.health() if not part.ok] == []
    with structlog.testing.capture_logs() as lines:
        for name in ("MakaiEventPlugin", "LahaGcPlugin", "MakaiEventPlugin"):
            status.on_message("heartbeat", originals_heartbeat(name))
    assert [line["event"] for line in lines] == ["bus.second_mauka"]
    problems = {part.name: part.info for part in status.health() if not part.ok}
    assert "another Mauka (LahaGcPlugin, MakaiEventPlugin)" in problems["second Mauka"]
    rows = {row["plugin_name"]: row["messages_recv"] for row in status.plugin_status()}
    assert rows == {"MakaiEventPlugin": 0, "ThdPlugin": 1}, "ours keeps its own row"
    now_s[0] += GONE_S + 1
    assert "second Mauka" not in {part.name for part in status.health()}


def test_one_of_two_publishes_waveforms(tmp_path):
    store = open_store(None, tmp_path)
    event_id = store.open_event(TRIGGER, "x")
    store.put_waveform(event_id, wave("1"))
    store.finish_event(event_id)
    published = {}
    for name in ("alone", "beside"):
        other = OtherMauka()
        plugin = MakaiEventPlugin({}, lambda: store, other)
        topics = published[name] = []
        plugin.produce = lambda topic, message, topics=topics: topics.append(topic)
        if name == "beside":
            StatusPlugin({}, [plugin.name], other=other).on_message(
                "heartbeat", originals_heartbeat(plugin.name)
            )
        plugin.on_message("MakaiEvent", makai_event(event_id))
        plugin._waiting[0] = (0.0, *plugin._waiting[0][1:])
        plugin.on_idle()
    assert set(published["alone"]) == {"AdcSamples", "RawVoltage", "RmsWindowedVoltage", "windowed_frequency"}
    assert published["beside"] == []
    store.close()
