OPQ_DSP := $(USERMOD_DIR)
SRC_USERMOD_C += $(addprefix $(OPQ_DSP)/,module.c)
SRC_USERMOD_LIB_C += $(addprefix $(OPQ_DSP)/,features.c harmonics.c tracker.c transient.c windows.c)
CFLAGS_USERMOD += -I$(OPQ_DSP)
