"""What is measured: one file per benchmark, each with `run(quick) -> Result`."""
