"""Programs and devices that run the Box's firmware: emulators, or a board on a serial port."""
