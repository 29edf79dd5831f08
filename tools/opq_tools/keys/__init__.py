"""`opq-tools keys` and `keygen`: key pairs, and the Boxes and services that are admitted."""
