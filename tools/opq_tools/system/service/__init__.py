"""Services of this machine: their units, as systemd runs them."""
