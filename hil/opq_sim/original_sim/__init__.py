"""The original's simulator as a source of samples, with its HTTP control and FIFO
(docs/reference/opq-interop.md F.7)."""
