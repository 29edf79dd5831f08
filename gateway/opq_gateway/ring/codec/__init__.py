"""The lossless codec of the ring: `pack` and `unpack` of chunks of samples. NumPy and zlib, nothing else.

    counts --chunk--> cycles (period, predictor, residuals) --> entropy (shapes, tuples, lanes, zlib)
              +-----> differences -------------------------------+               --> bytes

| file | noun |
|---|---|
| chunk.py | a chunk's bytes; the choice of the shortest method; samples without mains |
| packed_cycles.py | mains, as differences from a prediction by earlier cycles |
| predictor.py | the period; predicts stretches from twelve cycles before them, exactly on every machine |
| residuals.py | samples minus predictions, in runs of one kind |
| entropy.py | runs of small integers as bytes; which shape codes a run best, for the encoder only |
| lanes.py | interleaved rANS |
| tuples.py | several small integers as one symbol |
| shapes.py | a table of frequencies from one byte |

`opq-tools bench gateway` compares it with lzma.
"""

from opq_gateway.ring.codec.chunk import pack, unpack, unpack_all

__all__ = ["pack", "unpack", "unpack_all"]
