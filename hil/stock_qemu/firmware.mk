# The firmware of slot A for QEMU as distributions have it: `-M netduinoplus2`, also an STM32F405, with fewer models.
#   make -C device/port -f $PWD/hil/stock_qemu/firmware.mk MICROPYTHON=… BUILD=… (as for the Makefile there)
# Results stand beside BUILD, in `stock`: what is in BUILD is the Box's, and counted in its budgets.
# Its objects are the Box's own, but for the few that name an address which that machine lacks: those are compiled once
# more, from the same sources, with places.h before them. line.c does what its UART does not.
.DEFAULT_GOAL := stock
# before the include: this file is the last one so far; its folder, wherever device/port was copied to
STOCK := $(patsubst %/,%,$(dir $(abspath $(lastword $(MAKEFILE_LIST)))))
include Makefile

OUT = $(abspath $(BUILD)/../stock)
ELSEWHERE = boot_id power crash repl update/running acquire/module
WRAPPED = opq_uart_send opq_uart_on_interrupt opq_pin_repl
comma := ,

stock: $(OUT)/firmware.bin
vpath %.c . $(DEVICE)/cmodules $(STOCK)
$(OUT)/acquire/module.o: private STOCK_WARNINGS := -Wno-unused-parameter -Wno-sign-compare
STOCK_WARNINGS = -Wconversion -Wfloat-conversion -Wdouble-promotion
STOCK_O = $(ELSEWHERE:%=$(OUT)/%.o) $(OUT)/line.o
$(STOCK_O): $(OUT)/%.o: %.c $(STOCK)/places.h $(BUILD)/genhdr/qstrdefs.generated.h Makefile $(wildcard *.h $(DEVICE)/cmodules/*/*.h)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(OUR_CFLAGS) $(STOCK_WARNINGS) -include $(STOCK)/places.h -c -o $@ $<
$(OUT)/firmware.ld: firmware.ld.in $(STOCK)/firmware.mk
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -E -P -x c -DOPQ_SLOT=0x08020000 -DOPQ_CCM=0x20020000 $< -o $@
$(OUT)/firmware.elf: $(OUT)/firmware.ld $(OBJ) $(STOCK_O)
	$(Q)$(CC) $(LDFLAGS) $(addprefix -Wl$(comma)--wrap=,$(WRAPPED)) -T $< -Wl,-Map=$(@:.elf=.map) -o $@ \
		$(filter-out $(ELSEWHERE:%=$(BUILD)/%.o),$(OBJ)) $(STOCK_O) $(LIBS)
$(OUT)/firmware.bin: $(OUT)/firmware.elf
	$(Q)$(OBJCOPY) -O binary $< $@
