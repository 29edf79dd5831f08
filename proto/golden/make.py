"""Make the golden vectors again: `python proto/golden/make.py`; a test compares them byte for byte.

Independent of opq_proto on purpose, so that the answers do not come from the code under test:
struct, zlib's CRC-32, and COBS, Z85 and protobuf written out from their specifications.
README.md has the format.
"""

import json
import struct
import sys
import zlib
from pathlib import Path

from make_dsp import SIGNALS, dsp_case
from make_image import image_cases
from make_link import MESSAGES, cobs, link_case, stream_case, streams
from make_protobuf import protobuf_cases

HERE = Path(__file__).resolve().parent
Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
CRC_SOURCE = "check value of CRC-32/ISO-HDLC in the CRC catalogue (reveng); others by zlib"
COBS_SOURCE = "Wikipedia's and the paper's worked examples; others by the rule"


def plain_cases() -> dict[str, str]:
    """crc32, cobs and z85."""
    crc = {"nothing": b"", "check": b"123456789", "zero": b"\0", "ones": b"\xff" * 4}
    crc["all"] = bytes(range(256))
    plain = {
        "nothing": b"",
        "zero": b"\0",
        "two_zeros": b"\0\0",
        "zero_in_middle": bytes.fromhex("11220033"),
        "no_zero": bytes.fromhex("11223344"),
        "ends_in_zeros": bytes.fromhex("11000000"),
        "full_block": bytes(range(1, 255)),
        "full_block_and_zero_first": bytes(range(255)),
        "full_block_and_one": bytes(range(1, 256)),
        "full_block_and_zero_last": [*range(2, 256), 0],
    }
    z85 = {"hello_world": bytes.fromhex("864fd26fb559f75b"), "zeros": bytes(4), "ones": b"\xff" * 4}
    z85["server_public"] = bytes.fromhex("54fcba24e93249969316fb617c872bb0c1d1ff14800427c594cbfacf1bc2d652")
    cases = {}
    for name, data in crc.items():
        head = f"# source: {CRC_SOURCE}\nhex {data.hex()}".rstrip()
        cases[f"crc32/{name}"] = f"{head}\ncrc32 {zlib.crc32(data)}\n"
    for name, raw in plain.items():
        data = bytes(raw)
        encoded = cobs(data).hex()
        cases[f"cobs/{name}"] = f"# source: {COBS_SOURCE}\nhex {data.hex()}".rstrip() + f"\ncobs {encoded}\n"
    for name, data in z85.items():
        words = struct.unpack(f">{len(data) // 4}I", data)
        text = "".join(Z85[word // 85**power % 85] for word in words for power in (4, 3, 2, 1, 0))
        cases[f"z85/{name}"] = (
            f"# source: ZeroMQ RFC 32/Z85; keys: zmq_curve(7)\nhex {data.hex()}\nz85 {text}\n"
        )
    return cases


def files() -> dict[str, str]:
    """Path below proto/golden -> text, of every generated case."""
    made = {f"link/{name}.txt": link_case(name) for name in MESSAGES}
    made |= {f"stream/{name}.txt": stream_case(name) for name in streams()}
    made |= {f"{name}.txt": text for name, text in plain_cases().items()}
    made |= {f"dsp/{name}.txt": dsp_case(name) for name in SIGNALS}
    made |= {f"image/{name}.txt": text for name, text in image_cases().items()}
    for name, (message, what, fields, wire) in protobuf_cases().items():
        source = (
            "field numbers: docs/reference/opq-interop.md part B and docs/reference/contracts.md; "
            "wire form: protobuf.dev encoding"
        )
        case = {"message": message, "what": what, "source": source, "tolerance": 0, "fields": fields}
        made[f"protobuf/{name}.json"] = json.dumps(case | {"wire_hex": wire.hex()}, indent=1) + "\n"
    return made


def main() -> int:
    for name, text in files().items():
        path = HERE / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
