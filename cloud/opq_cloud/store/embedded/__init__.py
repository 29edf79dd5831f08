"""What the SQLite store is made of: its tables, and a part for each noun."""
