ifdef OPQ_PORT # it calls our port: ticks, lines, flash
OPQ_UPDATE := $(USERMOD_DIR)
SRC_USERMOD_C += $(OPQ_UPDATE)/module.c
SRC_USERMOD_LIB_C += $(addprefix $(OPQ_UPDATE)/,handover.c image.c running.c sha256.c slot.c update.c)
CFLAGS_USERMOD += -I$(OPQ_UPDATE)
endif
