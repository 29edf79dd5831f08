"""Payloads that only who has the key can read; what cannot work is told when the rule is made."""

import json
import zlib
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from rules_engine import rule, running, stream
from waiting import wait_for

from opq_rules.delivery.transform import NONCE_BYTES, divided, transformer
from opq_rules.errors import RuleError

KEY = bytes(range(32))


def opened(content: bytes, key: bytes = KEY) -> bytes:
    return AESGCM(key).decrypt(content[:NONCE_BYTES], content[NONCE_BYTES:], None)


@pytest.mark.parametrize("size", [16, 24, 32])
@pytest.mark.parametrize("in_hex", [True, False])
def test_a_payload_is_compressed_then_encrypted(tmp_path: Path, size: int, in_hex: bool) -> None:
    key = KEY[:size]
    (tmp_path / "key").write_bytes(f"{key.hex()}\n".encode() if in_hex else key)
    said = {"encryption": "aes", "encryptionKeyFile": str(tmp_path / "key")}
    packed = transformer(divided({**said, "compression": "zlib"})[0])
    first, second = packed([{"v": 1}]), packed([{"v": 1}])
    assert first != second
    assert json.loads(zlib.decompress(opened(first, key))) == [{"v": 1}]
    with pytest.raises(InvalidTag):
        opened(first[:-1] + bytes([first[-1] ^ 1]), key)


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 33, KEY.hex().encode()[:-2]])
def test_a_file_that_holds_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    said = {"encryption": "aes", "encryptionKeyFile": str(tmp_path / "key")}
    with pytest.raises(ValueError, match="want 16, 24 or 32 bytes") as told:
        transformer(divided(said)[0])
    assert content.decode() not in str(told.value) or len(content) < 6


def test_an_impossible_row_use_is_refused_early(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(KEY)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"dataTemplate": "{% if %}"}, "dataTemplate"),
        ({"encryption": "aes", "encryptionKeyFile": str(tmp_path / "none")}, "No such file"),
        ({"encryption": "aes"}, "go together"),
        ({"encryptionKeyFile": str(tmp_path / "key")}, "go together"),
        ({"encryption": "des"}, "want one of"),
    ]
    with running(tmp_path / "engine") as (engine, hands):
        engine.execute(stream())
        for properties, part in wrong:
            with pytest.raises(RuleError, match=part):
                engine.create_rule({**rule("r", "SELECT * FROM s"), "actions": [{"kept": properties}]})
        good = {"encryption": "aes", "encryptionKeyFile": str(tmp_path / "key")}
        engine.create_rule({**rule("r", "SELECT * FROM s"), "actions": [{"kept": good}]})
        wait_for(lambda: hands.contexts)
        hands.give([{"v": 1}])
        wait_for(lambda: hands.got)
        assert opened(hands.got[0][1]) == b'[{"v":1}]'
