"""What all rooms share: nouns, wire formats, key files, configuration, errors, logs."""
