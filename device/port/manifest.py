# The modules that are frozen into the binary: all of device/app.
freeze("../app")  # noqa: F821 - makemanifest's own word
