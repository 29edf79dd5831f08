// RCC (RM0090 7): ready bits as soon as the oscillator is on (QEMU's machine models the delays), SWS follows SW,
// and why the last reset was. Clock gates and the PLL's limits are kept, not acted upon.
using System.Collections.Generic;
using Antmicro.Renode.Core;
using Antmicro.Renode.Peripherals.Bus;

namespace Antmicro.Renode.Peripherals.Opq
{
    [AllowedTranslations(AllowedTranslation.ByteToDoubleWord | AllowedTranslation.WordToDoubleWord)]
    public class Rcc : OpqBlock
    {
        public Rcc(IMachine machine, Chain chain) : base(machine, chain, 0x400)
        {
            Define((long)Registers.CR, 0x81, 0x050D00F9);
            Define((long)Registers.PLLCFGR, 0x24003010, 0x0F437FFF);
            Define((long)Registers.CFGR, 0x0, 0xFFFFFCF3);
            Define((long)Registers.CIR, 0x0, 0x00003F00);
            Define((long)Registers.AHB1RSTR, 0x0, 0xFFFFFFFF);
            Define((long)Registers.AHB2RSTR, 0x0, 0xFFFFFFFF);
            Define((long)Registers.AHB3RSTR, 0x0, 0xFFFFFFFF);
            Define((long)Registers.APB1RSTR, 0x0, 0xFFFFFFFF);
            Define((long)Registers.APB2RSTR, 0x0, 0xFFFFFFFF);
            Define((long)Registers.AHB1ENR, 0x00100000, 0xFFFFFFFF);
            Define((long)Registers.AHB2ENR, 0x0, 0xFFFFFFFF);
            Define((long)Registers.AHB3ENR, 0x0, 0xFFFFFFFF);
            Define((long)Registers.APB1ENR, 0x0, 0xFFFFFFFF);
            Define((long)Registers.APB2ENR, 0x0, 0xFFFFFFFF);
            Define((long)Registers.AHB1LPENR, 0x7E6791FF, 0xFFFFFFFF);
            Define((long)Registers.AHB2LPENR, 0x000000F1, 0xFFFFFFFF);
            Define((long)Registers.AHB3LPENR, 0x00000001, 0xFFFFFFFF);
            Define((long)Registers.APB1LPENR, 0x36FEC9FF, 0xFFFFFFFF);
            Define((long)Registers.APB2LPENR, 0x00075F33, 0xFFFFFFFF);
            Define((long)Registers.BDCR, 0x0, 0x00018305);
            Define((long)Registers.CSR, 0x0, 0x00000001);
            Define((long)Registers.SSCGR, 0x0, 0xFFFFFFFF);
            Define((long)Registers.PLLI2SCFGR, 0x20003000, 0xFFFFFFFF);
            Reset();
            causes = 0x0E000000; // 7.3.21: power, pin, brown-out
            pending = 0;
        }

        // The run begins with a reset by software, not with power-on.
        public void BeginRestarted()
        {
            causes = SoftwareReset | PinReset;
        }

        // Whoever asks for a reset says so here first: the bit of RCC_CSR.
        public void ResetBecauseOf(int bit)
        {
            pending |= 1u << bit;
        }

        // A block that a bit of RCC_xxxRSTR resets.
        public void Attach(long offset, int bit, OpqBlock block)
        {
            attached.Add(new KeyValuePair<long, OpqBlock>(offset * 256 + bit, block));
        }

        public uint ResetCauses
        {
            get { return causes; }
        }

        protected override void OnReset()
        {
            // The pin's flag comes with every reset; without another reason it was SYSRESETREQ.
            causes |= (pending != 0 ? pending : SoftwareReset) | PinReset;
            pending = 0;
        }

        protected override uint OnRead(long offset, uint stored)
        {
            switch((Registers)offset)
            {
            case Registers.CR: // HSIRDY, HSERDY, PLLRDY follow their switches
                return stored | (stored & 1) << 1 | (stored & 1u << 16) << 1 | (stored & 1u << 24) << 1;
            case Registers.CFGR: // SWS follows SW
                return stored | (stored & 3) << 2;
            case Registers.BDCR:
                return stored | (stored & 1) << 1;
            case Registers.CSR:
                return causes | stored | (stored & 1) << 1;
            default:
                return stored;
            }
        }

        protected override void OnWrite(long offset, uint before, uint value)
        {
            if((Registers)offset == Registers.CSR && (value & 1u << 24) != 0) // RMVF
            {
                causes = 0;
            }
            foreach(var entry in attached)
            {
                if(entry.Key >> 8 == offset && (value >> (int)(entry.Key & 31) & 1) != 0)
                {
                    entry.Value.Reset();
                }
            }
        }

        private const uint SoftwareReset = 1u << 28, PinReset = 1u << 26;

        private readonly List<KeyValuePair<long, OpqBlock>> attached = new List<KeyValuePair<long, OpqBlock>>();
        private uint causes;
        private uint pending;

        private enum Registers : long
        {
            CR = 0x00,
            PLLCFGR = 0x04,
            CFGR = 0x08,
            CIR = 0x0C,
            AHB1RSTR = 0x10,
            AHB2RSTR = 0x14,
            AHB3RSTR = 0x18,
            APB1RSTR = 0x20,
            APB2RSTR = 0x24,
            AHB1ENR = 0x30,
            AHB2ENR = 0x34,
            AHB3ENR = 0x38,
            APB1ENR = 0x40,
            APB2ENR = 0x44,
            AHB1LPENR = 0x50,
            AHB2LPENR = 0x54,
            AHB3LPENR = 0x58,
            APB1LPENR = 0x60,
            APB2LPENR = 0x64,
            BDCR = 0x70,
            CSR = 0x74,
            SSCGR = 0x80,
            PLLI2SCFGR = 0x84
        }
    }
}
