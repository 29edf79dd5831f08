"""Built-in triggers, one file each: `name`, `Config`, `begin`, and `judge` (`sql`, `lua`: `decide`)."""
