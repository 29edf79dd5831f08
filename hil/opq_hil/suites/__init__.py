"""The HIL scenarios: suite A runs in virtual time and is deterministic, suite B is live."""
