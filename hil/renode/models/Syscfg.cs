// SYSCFG (RM0090 9.2): kept, not acted upon (Exti.cs says why).
using Antmicro.Renode.Core;
using Antmicro.Renode.Peripherals.Bus;

namespace Antmicro.Renode.Peripherals.Opq
{
    [AllowedTranslations(AllowedTranslation.ByteToDoubleWord | AllowedTranslation.WordToDoubleWord)]
    public class Syscfg : OpqBlock
    {
        public Syscfg(IMachine machine, Chain chain) : base(machine, chain, 0x400)
        {
            Define((long)Registers.MEMRMP, 0x0, 0x00000003);
            Define((long)Registers.PMC, 0x0, 0x00870000);
            Define((long)Registers.EXTICR1, 0x0, 0x0000FFFF);
            Define((long)Registers.EXTICR2, 0x0, 0x0000FFFF);
            Define((long)Registers.EXTICR3, 0x0, 0x0000FFFF);
            Define((long)Registers.EXTICR4, 0x0, 0x0000FFFF);
            Define((long)Registers.CMPCR, 0x0, 0x00000001);
            Reset();
        }

        private enum Registers : long
        {
            MEMRMP = 0x00,
            PMC = 0x04,
            EXTICR1 = 0x08,
            EXTICR2 = 0x0C,
            EXTICR3 = 0x10,
            EXTICR4 = 0x14,
            CMPCR = 0x20
        }
    }
}
