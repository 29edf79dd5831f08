"""What keeps a store over the years: checks, copies into another store, and repair."""
