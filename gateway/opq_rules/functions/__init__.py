"""The functions of SQL by group; `registry` is how they are declared and found."""
