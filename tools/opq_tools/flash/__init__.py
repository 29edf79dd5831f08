"""`opq-tools flash`: firmware onto a chip, by ROM boot loader, USB DFU, debug probe or the Box's own link."""
