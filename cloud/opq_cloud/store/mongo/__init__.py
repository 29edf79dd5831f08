"""What the MongoDB store is made of: the connection, and a part for each of the original's collections."""
