"""The parts of the SQLite store: its tables, and a module for each noun."""
