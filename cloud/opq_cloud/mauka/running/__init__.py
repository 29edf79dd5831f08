"""What the runner needs: events that wait, analyses and their processes, and where a finding comes from."""
