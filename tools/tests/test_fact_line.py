"""Facts on a terminal: words instead of Python's brackets, times in UTC."""

import pytest

from opq_tools.shared.fact_line import fact_line


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("unplugged", False, "unplugged     no"),
        ("v_per_lsb", 1 / 136.5333333333333333, "v_per_lsb     0.00732421875"),
        ("start_ms", 1795399397906.7913, "start         2026-11-23 02:03:17.906 UTC"),
        ("end_ns", 1795399399122518954, "end           2026-11-23 02:03:19.122 UTC"),
        ("settle_ms", 250, "settle_ms     250"),
        ("boxes", ["1", "4"], "boxes         1, 4"),
        ("asked_as", {"saw": ["1"], "near": ["3", "2"]}, "asked_as      saw 1; near 3, 2"),
        ("archive", [{"place": "a", "since": 3}, {"place": "b"}], "archive       place a, since 3; place b"),
        ("wifi_network", "", "wifi_network"),
        ("ip", "127.0.0.1:0\n[::1]:0", "ip            127.0.0.1:0, [::1]:0"),
    ],
)
def test_a_fact_is_a_line_that_people_read(key: str, value: object, line: str) -> None:
    assert fact_line(key, value, 13) == line
