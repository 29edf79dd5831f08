OPQ_LINK := $(USERMOD_DIR)
SRC_USERMOD_C += $(addprefix $(OPQ_LINK)/,module.c)
SRC_USERMOD_LIB_C += $(addprefix $(OPQ_LINK)/,cobs.c crc32.c frame.c messages.c queue.c readers.c)
CFLAGS_USERMOD += -I$(OPQ_LINK) -I$(OPQ_LINK)/../acquire # ramfunc.h
