// DBGMCU (RM0090 38.16): who the chip is; the freeze bits are kept.
using Antmicro.Renode.Core;
using Antmicro.Renode.Peripherals.Bus;

namespace Antmicro.Renode.Peripherals.Opq
{
    [AllowedTranslations(AllowedTranslation.ByteToDoubleWord | AllowedTranslation.WordToDoubleWord)]
    public class Dbgmcu : OpqBlock
    {
        public Dbgmcu(IMachine machine, Chain chain) : base(machine, chain, 0x10)
        {
            Define((long)Registers.IDCODE, 0x10076413, 0x00000000); // 38.6.1: STM32F405, revision 1
            Define((long)Registers.CR, 0x0, 0x000000E7);
            Define((long)Registers.APB1_FZ, 0x0, 0x06E01DFF);
            Define((long)Registers.APB2_FZ, 0x0, 0x00070003);
            Reset();
        }

        private enum Registers : long
        {
            IDCODE = 0x00,
            CR = 0x04,
            APB1_FZ = 0x08,
            APB2_FZ = 0x0C
        }
    }
}
