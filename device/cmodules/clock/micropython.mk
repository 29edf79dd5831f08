ifdef OPQ_PORT # it calls our port: ticks, lines, flash
OPQ_CLOCK := $(USERMOD_DIR)
SRC_USERMOD_C += $(addprefix $(OPQ_CLOCK)/,module.c)
SRC_USERMOD_LIB_C += $(addprefix $(OPQ_CLOCK)/,calendar.c clock.c discipline.c loop.c nmea.c publish.c seconds.c tcxo.c \
	thermometer.c timeline.c train.c ubx.c)
# -ffp-contract=off: no fused multiply-add, so that the same pulses give the same bits here and on any PC.
CFLAGS_USERMOD += -I$(OPQ_CLOCK) -ffp-contract=off
endif
