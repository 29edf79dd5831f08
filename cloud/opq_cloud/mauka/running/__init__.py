"""What the runners need: events that wait, analyses and their processes, and where a finding comes from."""
