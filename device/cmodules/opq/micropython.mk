SRC_USERMOD_C += $(USERMOD_DIR)/module.c
ifdef OPQ_PORT # ../../port/Makefile
CFLAGS_USERMOD += -DOPQ_PORT
endif
