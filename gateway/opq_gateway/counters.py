"""What the gateway counts per Box, and what each counter means.

Nothing is dropped without a counter. Names are those of `/metrics` without the prefix `opq_gateway_` and the
suffix `_total`.
"""

import threading
from types import MappingProxyType

MEANING = MappingProxyType(
    {
        # serial side
        "serial_opened": "times the port was opened",
        "serial_lost": "times an open port went away or failed",
        "serial_bytes": "bytes read from the port",
        "serial_early_dropped": "bytes dropped before the gateway was ready: its start took five minutes",
        "serial_rests": "pauses in reading the port, because it took the time of all other ports",
        "serial_overruns": "bytes that the UART or its driver lost because they were read too late",
        "serial_line_errors": "bytes with wrong framing or parity, as the kernel counts them",
        "serial_write_failed": "messages to the Box that the port did not take",
        "serial_unreadable": "times that a port brought bytes for ten seconds and no frame of a Box",
        "frames": "good link frames",
        "frame_crc_errors": "link frames with a wrong checksum or coding",
        "frame_malformed": "link frames with an unknown type or bad payload",
        "frame_oversize": "runs without a delimiter, longer than any frame",
        "bytes_skipped": "bytes that belonged to no good frame",
        "frame_sequence_gaps": "places where the Box's frame sequence jumped",
        "hello": "hellos received",
        "hello_refused": "hellos with a gain, rate or nominal value that cannot be true",
        "samples_refused": "blocks of samples with a time, index or rate that cannot be true",
        "restarts": "new boot ids: sample indices began again",
        "foreign_box": "messages dropped because a Box that is not configured is on the port",
        "samples_before_hello": "samples dropped because gain and boot were not known yet",
        "box_overruns": "blocks before which the Box itself lost samples",
        "clipped_blocks": "blocks with a count at the converter's end",
        "log_lines": "log lines of the Box",
        "log_lines_untold": "log lines of the Box that are not in the gateway's log: too many at once",
        "crossings": "limit crossings reported by the Box",
        "crossings_untimed": "limit crossings right after a Box's start, before its time was known, not sent",
        "numbered": "starts of a Box without a number (box_id 0), which took that of its port",
        "number_refused": "starts of a Box without a number that did not take that of its port",
        "crossing_limits_refused": "starts of the Box at which it did not take the limits",
        "time_steps": "steps of a run's time by more than 1 ms: a better clock was found",
        "rate_wrong": "times the samples were found to come at another rate than the Box states",
        "gps_contradictions": "times its GPS began to contradict the time that this gateway follows",
        # reassembly
        "resend_asked": "requests to the Box to send samples again",
        "samples_recovered": "missing samples that a Resend brought back",
        "duplicate_samples": "samples that came twice, dropped",
        "stalls": "times this gateway stood still for more than a quarter of a second with the port open, "
        "or read the port so late that its buffer was full",
        "gaps": "gaps that could not be filled, marked",
        "missing_samples": "samples inside marked gaps",
        "reorder_overflow": "blocks dropped because too many waited after a hole",
        # ring
        "ring_blocks": "blocks written to the ring",
        "ring_failed": "blocks that the disk did not take",
        "ring_bad_records": "records with a wrong checksum, skipped while reading",
        "ring_deleted_segments": "old ring segments deleted",
        "ring_lost_records": "losses recorded in the ring: holes in the samples, each with its reason",
        "ring_unreadable_files": "files of the ring that are not segments or lost their head, until deleted",
        "ring_sync_failed": "times the disk failed to sync written data",
        "ring_sealed_segments": "ring segments compressed",
        "ring_saved_bytes": "bytes of the disk that this saved",
        "ring_sealing_failed": "times a segment could not be compressed; it stays raw after the second",
        # measurements
        "samples": "samples measured, in order",
        "measurements": "measurements made",
        "values": "rows of measured values: windows, 3 s, 10 s, 10 min, 2 h",
        "unmeasured_samples": "samples not measured: too many waited, or no hello yet; the ring has them",
        "fallback_measurements": "measurements made of the Box's own figures where samples are missing",
        "fallback_late": "fallback measurements dropped: too late for a broker that gets all in order",
        "backfilled_samples": "samples measured from the ring after a restart",
        "ledger_dropped": "rows of measured values lost: the disk was full or too slow for long",
        "ledger_failed": "times the disk did not take measured values",
        "ledger_unreadable": "times the disk did not return measured values for the cloud",
        "intervals_queued": "intervals and disturbances of the ledger that were numbered for the cloud",
        "intervals_withdrawn": "numbered intervals kept back, because the cloud does not accept them",
        "half_cycles_deleted": "bytes of Urms(1/2) deleted from the ledger: too old, or more than is kept",
        "sequences_failed": "measurements without a number: the disk refused to reserve one",
        "edges_found": "transients, phase jumps, notches, rapid changes, telegrams that the detectors found",
        "edges_limited": "edges not reported: less than 10 s after another one of their class",
        "box_figures_dropped": "the Box's own figures dropped: too many waited to be measured",
        "box_figures_checked": "the Box's own figures compared with ours",
        "box_figures_differ": "of these, those that differed by more than the tolerance",
        "box_figures_refused": "the Box's own figures refused: their span has samples that the Box lost",
        "own_values": "values of channels of the Box's program",
        "own_values_dropped": "such values dropped: a ninth channel, a wrong name or value, or too many",
        # uplink
        "measurements_sent": "measurements sent to the uplink's socket at once",
        "measurements_unheard": "measurements made without a connected broker: stored, and sent later",
        "measurements_delayed": "measurements that broker or disk did not take at once: sent later",
        "measurements_backfilled": "measurements sent later, or again: not acknowledged",
        "measurements_idle": "measurements within their dead-bands: sent as part of the next heartbeat",
        "measurements_overflow": "measurements dropped: neither the disk nor the broker took them",
        "measurements_expired": "measurements dropped from the queue: too old, or the queue too large",
        "measurements_unfit": "measurements dropped: a number in them fits no wire",
        "crossings_sent": "limit crossings sent at once, each as a measurement",
        "crossings_unsent": "limit crossings not sent, because the Box did not report the rms",
        "crossings_withheld": "limit crossings and requests not sent: the broker does not acknowledge",
        "queue_failed": "times the disk began to refuse measurements; they wait in memory",
        "queue_broken": "queue files that could not be read any more: renamed, and a new one begun",
        "uplink_connected": "times all three uplink connections were open",
        "uplink_lost": "times one of them was lost",
        "uplink_refused": "times that the broker was seen not to admit the key",
        # commands
        "commands": "commands received for this Box",
        "commands_foreign": "commands for another Box, dropped",
        "commands_malformed": "commands that cannot be decoded, or whose request is not known",
        "commands_overflow": "commands dropped: too many wait to be answered",
        "responses_sent": "answers handed to the uplink's socket",
        "responses_dropped": "answers dropped: no broker, or it read too slowly",
        "requests_moved": "data requests with times of a clock that was set since",
        "requests_shortened": "data requests longer than the limit, answered in part",
        "requests_unwaited": "data requests answered before their last samples came: too many waited already",
        "rate_refused": "measurement rates outside 1 to 600 cycles, ignored",
        "acknowledgements": "opq-ack messages received",
        "acknowledgements_ahead": "of these, with unused numbers: another gateway may send for this Box",
        "half_cycles_asked": "requests for Urms(1/2) of a disturbance, answered from the ledger",
        "half_cycles_refused": "requests for Urms(1/2) that cannot be read, or a ledger that cannot",
        "orders_done": "orders to the Box (reset, time, settings, update) that it carried out",
        "orders_refused": "orders that the Box or the gateway did not carry out",
        "orders_unproved": "of these, those without the administrator's proof, or not of the prompt's client",
        # synchrophasors; what concerns several Boxes is counted with the first Box
        "phasors_late": "phasors that came after their frame was sent",
        "phasors_off_axis": "phasors more than 5 s away from those of the Box with the best time, left out",
        "phasors_absent": "data frames sent without a phasor of this Box",
        "phasors_missed": "phasors dropped: the stream's thread was too slow",
        "phasor_frames": "data frames made",
        "phasor_clients": "PMU clients that connected",
        "phasor_clients_refused": "PMU clients beyond the most at once, of one address or of all",
        "phasor_clients_silent": "PMU clients cut off: they ordered nothing",
        "phasor_clients_too_slow": "PMU clients cut off: they read too slowly",
        "phasor_orders_ignored": "frames of PMU clients with an unknown command, or for another stream",
        "phasor_orders_malformed": "PMU clients that sent what is not a frame, which ended their connection",
        # MQTT; counted with the first Box
        "mqtt_connected": "connections to the MQTT broker",
        "mqtt_failed": "connections to the MQTT broker that failed or were lost",
        "mqtt_published": "messages that the MQTT broker received",
        "mqtt_dropped": "values and disturbances not sent to the MQTT broker: it was away or too slow",
        # rules; counted with the first Box
        "rule_requests": "waveforms that rules of this gateway requested from Makai",
        "plugins_unconfined": "refused starts of unsigned plug-ins: this machine cannot confine them",
        "windows_refused": "connections to windows_endpoint that ended before a handshake of ZeroMQ 3",
        "rules_dropped": "values and disturbances that the rules did not get: they are too slow",
        # health and metrics; counted with the first Box
        "health_overflow": "requests for health and metrics closed unread or cut off: too many, or too slow",
        # set-up page; counted with the first Box
        "setup_refused": "requests that the set-up page refused: wrong password, another page, too many",
        "setup_overflow": "requests that the set-up page closed unread: too many at once",
        "setup_saved": "times settings were saved on the set-up page",
        "wifi_failed": "times NetworkManager was absent, too slow, or did not join a network",
        "failures": "exceptions caught by the runner; the log has the traceback",
    }
)
"""Every counter and its one line of help."""


class BoxCounters:
    """Counts of one Box, from any thread; only names of MEANING exist."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(MEANING, 0)

    def add(self, name: str, count: int = 1) -> None:
        """Raises `name` by `count`.

        Raises:
            KeyError: no such counter.
        """
        with self._lock:
            self._counts[name] += count

    def set(self, name: str, value: int) -> None:
        """Takes over a count that another object keeps (the decoder's)."""
        with self._lock:
            self._counts[name] = value

    def __getitem__(self, name: str) -> int:
        return self._counts[name]

    def snapshot(self) -> dict[str, int]:
        """All counts at one moment."""
        with self._lock:
            return dict(self._counts)
