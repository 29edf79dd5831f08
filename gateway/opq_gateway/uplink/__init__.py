"""The way to Makai and back: queue on disk, three CURVE sockets per Box."""
