ifdef OPQ_PORT # it calls our port: ticks, lines, flash
OPQ_PIPELINE := $(USERMOD_DIR)
SRC_USERMOD_C += $(addprefix $(OPQ_PIPELINE)/,module.c)
SRC_USERMOD_LIB_C += $(addprefix $(OPQ_PIPELINE)/,pipeline.c resends.c stages.c stamps.c)
CFLAGS_USERMOD += -I$(OPQ_PIPELINE)
endif
