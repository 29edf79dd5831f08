"""Reading for the source `file`: bytes -> lines -> records, and the next file after a rotated one."""
