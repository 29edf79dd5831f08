ifdef OPQ_PORT # it calls our port: ticks, lines, flash
OPQ_ACQUIRE := $(USERMOD_DIR)
SRC_USERMOD_C += $(addprefix $(OPQ_ACQUIRE)/,module.c)
SRC_USERMOD_LIB_C += $(addprefix $(OPQ_ACQUIRE)/,acquire.c converter.c converters.c decimate.c ring.c slow.c trigger.c internal_adc.c external_adc.c)
CFLAGS_USERMOD += -I$(OPQ_ACQUIRE)
endif
