"""The report about one recording: its measurements, its class, its page. See README.md in this folder."""
