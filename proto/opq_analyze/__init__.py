"""What is said of one recording: measured, its class, its page. See README.md in this folder."""
