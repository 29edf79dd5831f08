"""`opq-tools flash`: writes firmware to a chip by ROM boot loader, USB DFU, debug probe or the Box's link."""
