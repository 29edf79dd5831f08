"""The Box's C modules: ../../../cmodules/opq/module.c. Other ports than ours have `dsp` and `link` alone."""
