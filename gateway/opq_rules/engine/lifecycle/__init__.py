"""How a rule starts and stops, and what it shares with other rules."""
