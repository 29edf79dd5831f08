"""`opq-tools up`: the whole house on this machine, in one command."""
