"""The flickermeter in the tables and performance tests of 61000-4-15, beside a peer."""
