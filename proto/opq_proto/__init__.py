"""What all packages share: nouns, wire formats, key files, configuration, errors, logs."""
