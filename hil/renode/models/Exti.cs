// EXTI and SYSCFG (RM0090 12.3, 9.2): edges on lines become interrupts. The firmware uses line 16 (PVD) alone; pins
// reach EXTI nowhere in it, so that SYSCFG's choice of ports is kept and not acted upon.
using System;
using System.Collections.Generic;
using Antmicro.Renode.Core;
using Antmicro.Renode.Peripherals.Bus;

namespace Antmicro.Renode.Peripherals.Opq
{
    [AllowedTranslations(AllowedTranslation.ByteToDoubleWord | AllowedTranslation.WordToDoubleWord)]
    public class Exti : OpqBlock
    {
        public Exti(IMachine machine, Chain chain) : base(machine, chain, 0x400)
        {
            PVD = new GPIO();
            wakeUp = new WakeUp(machine, this);
            Define((long)Registers.IMR, 0x0, 0x007FFFFF);
            Define((long)Registers.EMR, 0x0, 0x007FFFFF);
            Define((long)Registers.RTSR, 0x0, 0x007FFFFF);
            Define((long)Registers.FTSR, 0x0, 0x007FFFFF);
            Define((long)Registers.SWIER, 0x0, 0x007FFFFF);
            Define((long)Registers.PR, 0x0, 0x00000000);
            Reset();
        }

        public void Edge(int line, bool rising)
        {
            if((this[rising ? (long)Registers.RTSR : (long)Registers.FTSR] >> line & 1) != 0)
            {
                this[(long)Registers.PR] |= 1u << line;
                UpdateIrq();
                wakeUp.Plan(); // a dip of the supply that is over when the handler looks at it is not counted
            }
        }

        // Line 16.
        public GPIO PVD { get; private set; }

        protected override void OnReset()
        {
            UpdateIrq();
        }

        protected override void OnWrite(long offset, uint before, uint value)
        {
            switch((Registers)offset)
            {
            case Registers.SWIER:
                this[(long)Registers.PR] |= value & ~before & this[(long)Registers.IMR]; // 12.3.5
                break;
            case Registers.PR:
                this[offset] = before & ~value; // written with 1 to clear
                this[(long)Registers.SWIER] &= ~value;
                break;
            }
            UpdateIrq();
        }

        private void UpdateIrq()
        {
            PVD.Set((this[(long)Registers.PR] & this[(long)Registers.IMR] & 1u << 16) != 0);
        }

        private readonly WakeUp wakeUp;

        private enum Registers : long
        {
            IMR = 0x00,
            EMR = 0x04,
            RTSR = 0x08,
            FTSR = 0x0C,
            SWIER = 0x10,
            PR = 0x14
        }
    }
}
