"""What the source `file` reads: bytes -> lines -> records, and which file comes after one that is rotated."""
