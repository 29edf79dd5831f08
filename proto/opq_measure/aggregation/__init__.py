"""Windows put together: 150/180 cycles, ten minutes, two hours; three Boxes; a week."""
