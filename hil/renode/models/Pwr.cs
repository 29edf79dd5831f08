// PWR (RM0090 5.4): the voltage detector, whose edges go to EXTI line 16; the regulator is always ready.
using Antmicro.Renode.Core;
using Antmicro.Renode.Peripherals.Bus;

namespace Antmicro.Renode.Peripherals.Opq
{
    [AllowedTranslations(AllowedTranslation.ByteToDoubleWord | AllowedTranslation.WordToDoubleWord)]
    public class Pwr : OpqBlock
    {
        public Pwr(IMachine machine, Chain chain, Exti exti) : base(machine, chain, 0x400)
        {
            this.exti = exti;
            Define((long)Registers.CR, 0x4000, 0x000043F3);
            Define((long)Registers.CSR, 0x0, 0x00000300);
            Reset();
        }

        // Whether the supply is below the detector's threshold.
        public void SetLow(bool value)
        {
            var before = Output;
            low = value;
            Tell(before);
        }

        protected override uint OnRead(long offset, uint stored)
        {
            return (Registers)offset == Registers.CSR ? stored | 0x4000u | (Output ? 4u : 0u) : stored;
        }

        protected override void OnWrite(long offset, uint before, uint value)
        {
            if((Registers)offset == Registers.CR)
            {
                Tell((before & 0x10) != 0 && low);
            }
        }

        private void Tell(bool before)
        {
            if(Output != before)
            {
                exti.Edge(16, Output); // 5.2.3: rising when VDD falls below the threshold
            }
        }

        private bool Output
        {
            get { return (this[(long)Registers.CR] & 0x10) != 0 && low; }
        }

        private bool low; // outside: a reset does not touch it
        private readonly Exti exti;

        private enum Registers : long
        {
            CR = 0x00,
            CSR = 0x04
        }
    }
}
