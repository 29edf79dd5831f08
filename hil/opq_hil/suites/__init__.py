"""The HIL scenarios: suite A is played in virtual time and deterministic, suite B is live."""
