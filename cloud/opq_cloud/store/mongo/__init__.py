"""The parts of the MongoDB store: the connection, and a module for each of the original's collections."""
