"""The serial link between a Box and its gateway: frames, messages, payloads, words of a Box's log."""
