"""The original's simulator as a source of samples, with its HTTP control and FIFO (opq-interop F.7)."""
