"""The `opq-tools` command: one file per subcommand, `cli` only lists them."""
