"""The Box's C modules (../../../cmodules/opq/module.c), as many of them as the app uses."""
