"""One SELECT before it runs: names, types and steps."""
