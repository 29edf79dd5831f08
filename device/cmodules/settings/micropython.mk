ifdef OPQ_PORT # it calls our port: ticks, lines, flash
OPQ_SETTINGS := $(USERMOD_DIR)
SRC_USERMOD_C += $(OPQ_SETTINGS)/module.c
SRC_USERMOD_LIB_C += $(addprefix $(OPQ_SETTINGS)/,nor.c settings.c settings_record.c settings_table.c settings_value.c)
CFLAGS_USERMOD += -I$(OPQ_SETTINGS)
endif
