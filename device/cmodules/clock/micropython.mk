CLOCK_MOD_DIR := $(USERMOD_DIR)

SRC_USERMOD_C += $(addprefix $(CLOCK_MOD_DIR)/, \
	calendar.c \
	clock.c \
	discipline.c \
	loop.c \
	publish.c \
	seconds.c \
	tcxo.c \
	thermometer.c \
	timeline.c \
	train.c)

# -ffp-contract=off: no fused multiply-add, so that the same pulses give the same bits here and on any PC.
CFLAGS_USERMOD += -I$(CLOCK_MOD_DIR) -ffp-contract=off
