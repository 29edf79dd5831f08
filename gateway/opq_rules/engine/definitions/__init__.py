"""What a rule is: its text, checked, with schedule and named properties, stored in rules.sqlite3."""
