# What is frozen into the binary: every module of device/app, found by name.
freeze("../app")  # noqa: F821 - makemanifest's own word
