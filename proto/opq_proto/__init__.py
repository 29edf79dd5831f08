"""The common part of all packages: nouns, wire formats, key files, configuration, errors, logs."""
