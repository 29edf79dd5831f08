"""`opq-tools analyze`: a recording read block by block, measured, and shown."""
