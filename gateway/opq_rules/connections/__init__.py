"""Types of connections: what each is made of, who may use it, and how it is tried. One file per type.

`Config`: its properties, all of which each of `USERS` has too. `check(config, wait_s)` connects for real and
goes again: OSError where nobody answers or lets us in, ValueError where it makes no sense.
"""
