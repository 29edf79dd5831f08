ifdef OPQ_PORT # it calls our port: ticks, flash, SysTick
OPQ_PROGRAM := $(USERMOD_DIR)
SRC_USERMOD_C += $(OPQ_PROGRAM)/module.c
SRC_USERMOD_LIB_C += $(OPQ_PROGRAM)/program_store.c
CFLAGS_USERMOD += -I$(OPQ_PROGRAM)
endif
