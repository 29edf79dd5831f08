"""The lossless codec of the ring: `pack` and `unpack` of chunks of samples. NumPy and zlib, nothing else.

    counts --chunk--> cycles (period, predictor, residuals) --> entropy (shapes, lanes, zlib) --> bytes
              +-----> differences -------------------------------+

| file | noun |
|---|---|
| chunk.py | a chunk's bytes; the method that is shortest |
| cycles.py | mains: what earlier cycles do not tell of it |
| predictor.py | a stretch from the twelve cycles before it, exact on every machine |
| residuals.py | what predictions leave, in runs of one kind |
| differences.py | samples without mains |
| period.py | samples per cycle, for the encoder only |
| entropy.py | runs of small integers as bytes |
| lanes.py | interleaved rANS |
| shapes.py | a table of frequencies from one byte |

`opq-tools bench compression` shows it beside FLAC, zstd and lzma.
"""

from opq_gateway.ring.codec.chunk import pack, unpack, unpack_all

__all__ = ["pack", "unpack", "unpack_all"]
