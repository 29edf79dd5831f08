"""Built-in trigger plug-ins, one file each: `name`, `Config`, `begin`, `decide`."""
