"""The functions of SQL by group; `registry` defines how they are declared and found."""
