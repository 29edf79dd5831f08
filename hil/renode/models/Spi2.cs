// SPI2 as master (RM0090 28) and the converter on it: a 16-bit SAR of the AD7687 class in "CS mode, 3-wire, without
// busy indicator" (its data sheet): CNV rises: the input is held and converted within t_CONV; CNV low afterwards: the
// word is clocked out, most significant bit first.
using System;
using System.Collections.Generic;
using Antmicro.Renode.Core;
using Antmicro.Renode.Peripherals.Bus;

namespace Antmicro.Renode.Peripherals.Opq
{
    [AllowedTranslations(AllowedTranslation.ByteToDoubleWord | AllowedTranslation.WordToDoubleWord)]
    public class Spi2 : OpqBlock, IOpqStage, IOpqTriggered, IOpqCompareDma
    {
        // convert: TIM3, whose channel 1 is CNV; zeroCode: what the converter says at 0 (32768: unipolar).
        public Spi2(IMachine machine, Chain chain, Dma dma, Tim convert, Mains mains, int zeroCode = 0)
            : base(machine, chain, 0x400)
        {
            this.dma = dma;
            this.convert = convert;
            this.mains = mains;
            this.zeroCode = zeroCode;
            IRQ = new GPIO();
            Define((long)Registers.CR1, 0x0, 0x0000FFFF);
            Define((long)Registers.CR2, 0x0, 0x000000F7);
            Define((long)Registers.SR, 0x2, 0x00000000);
            Define((long)Registers.DR, 0x0, 0x00000000);
            Define((long)Registers.CRCPR, 0x7, 0x0000FFFF);
            Define((long)Registers.RXCRCR, 0x0, 0x00000000);
            Define((long)Registers.TXCRCR, 0x0, 0x00000000);
            Define((long)Registers.I2SCFGR, 0x0, 0x00000FBF);
            Define((long)Registers.I2SPR, 0x2, 0x000003FF);
            chain.Add(this);
            chain.AddTriggered(this);
            chain.AddCompareDma(this);
            Reset();
        }

        public void OnTrgo(int timer, long tick)
        {
        }

        // TIM3_CH1 is CNV.
        public void OnOutput(int timer, int channel, bool rising, long tick)
        {
            if(timer != Tim3 || channel != 0)
            {
                return;
            }
            if(rising && !cnv)
            {
                Unread += heldValid ? 1UL : 0UL;
                held = (ushort)(mains.Count("spi2", tick) + zeroCode);
                heldValid = true;
                cnvTick = tick;
                conversions++;
            }
            else if(!rising && cnv && tick - cnvTick < ConversionTicks)
            {
                Violation("CNV fell before the converter was done: it would give its busy indicator first");
            }
            cnv = rising;
        }

        // RM0090 10.3.3, table 42: TIM3_CH2 is DMA1 stream 5, channel 5.
        public void OnCompare(int timer, int channel, long tick)
        {
            if(timer == Tim3 && channel == 1)
            {
                var value = dma.Give(1u << 5, 5, 0x4000380C);
                if(value.HasValue)
                {
                    Transmit(tick);
                }
            }
        }

        public void Fire()
        {
            var tick = end;
            var value = (this[(long)Registers.CR1] & 0x800) != 0 ? (uint)shifted : (uint)(shifted >> 8);
            Frames++;
            end = OpqTime.Never;
            if((this[(long)Registers.SR] & Rxne) != 0)
            {
                Overruns++;
                this[(long)Registers.SR] |= Ovr; // 28.3.10: the new one is lost
            }
            else
            {
                this[(long)Registers.DR] = value;
                this[(long)Registers.SR] |= Rxne;
                if((this[(long)Registers.CR2] & 1) != 0 && dma.Take(1u << 3, 0, 0x4000380C, value))
                {
                    this[(long)Registers.SR] &= ~Rxne;
                }
            }
            if(waiting)
            {
                waiting = false;
                this[(long)Registers.SR] |= Txe;
                Begin(tick);
            }
            UpdateIrq();
        }

        public long NextTick
        {
            get { return end; }
        }

        public int Order
        {
            get { return 1; }
        }

        public long InterruptTick
        {
            get
            {
                if((this[(long)Registers.CR2] & 0xC0) != 0) // TXEIE, RXNEIE
                {
                    return end;
                }
                var items = (this[(long)Registers.CR2] & 1) != 0 ? dma.ItemsToInterrupt(1u << 3, 0) : 0;
                if(items == 0)
                {
                    return OpqTime.Never;
                }
                if(end != OpqTime.Never && --items == 0)
                {
                    return end;
                }
                var next = convert.NextCompare(1);
                return next == OpqTime.Never ? end : next + (items - 1) * convert.Period + FrameTicks;
            }
        }

        public GPIO IRQ { get; private set; }

        // Up to now, also between two moments at which the chain runs by itself.
        public ulong ConversionCount
        {
            get
            {
                chain.Sync(false);
                return conversions;
            }
        }

        public ulong Frames { get; private set; }

        public ulong Overruns { get; private set; }

        // Words clocked out before the converter was done: all ones, for nobody drives the line.
        public ulong TooEarly { get; private set; }

        // Conversions that nobody read.
        public ulong Unread { get; private set; }

        public override IEnumerable<KeyValuePair<string, ulong>> Counters
        {
            get
            {
                yield return Counter("conversions", ConversionCount);
                yield return Counter("frames", Frames);
                yield return Counter("overruns", Overruns);
                yield return Counter("too_early", TooEarly);
                yield return Counter("unread", Unread);
            }
        }

        protected override void OnReset()
        {
            end = OpqTime.Never;
            waiting = drWasRead = false;
            UpdateIrq();
        }

        protected override uint OnRead(long offset, uint stored)
        {
            if((Registers)offset == Registers.SR)
            {
                var busy = end != OpqTime.Never ? Bsy : 0;
                if(drWasRead)
                {
                    this[offset] &= ~Ovr; // 28.3.10: a read of DR, then this one
                    drWasRead = false;
                    UpdateIrq();
                }
                return stored | busy;
            }
            if((Registers)offset == Registers.DR)
            {
                drWasRead = (this[(long)Registers.SR] & Ovr) != 0;
                this[(long)Registers.SR] &= ~Rxne;
                UpdateIrq();
            }
            return stored;
        }

        protected override void OnWrite(long offset, uint before, uint value)
        {
            switch((Registers)offset)
            {
            case Registers.CR1:
                if((value & 0x8400) != 0)
                {
                    Violation("SPI2: receive-only and bidirectional modes are not modelled");
                }
                if((value & 0x344) == 0x244)
                {
                    Violation("SPI2: SSM without SSI makes a mode fault");
                }
                break;
            case Registers.DR:
                Transmit(chain.NowTick);
                break;
            }
            UpdateIrq();
        }

        // A word is written to DR, by firmware or by DMA.
        private void Transmit(long tick)
        {
            if((this[(long)Registers.CR1] & 0x44) != 0x44) // SPE, MSTR
            {
                Violation("SPI2_DR written while SPI2 is no enabled master");
            }
            else if(end == OpqTime.Never)
            {
                Begin(tick);
            }
            else
            {
                waiting = true;
                this[(long)Registers.SR] &= ~Txe;
            }
        }

        private void Begin(long tick)
        {
            end = tick + FrameTicks;
            if(cnv || tick - cnvTick < ConversionTicks || !heldValid)
            {
                TooEarly += conversions != 0 ? 1UL : 0UL;
                shifted = 0xFFFF;
            }
            else
            {
                shifted = held;
                heldValid = false;
            }
        }

        // The firmware enables none of these (CR2 is RXDMAEN alone, DMA takes each word): this line does not rise, and no
        // wake-up can be late.
        private void UpdateIrq()
        {
            var cr2 = this[(long)Registers.CR2];
            var wanted = ((cr2 & 0x40) != 0 ? Rxne : 0) | ((cr2 & 0x80) != 0 ? Txe : 0) | ((cr2 & 0x20) != 0 ? Ovr : 0);
            IRQ.Set((this[(long)Registers.SR] & wanted) != 0);
        }

        // One frame: PCLK1 (two ticks) / 2^(BR + 1), 8 or 16 bits.
        private long FrameTicks
        {
            get
            {
                var cr1 = this[(long)Registers.CR1];
                return ((cr1 & 0x800) != 0 ? 16L : 8L) * 2 * (2L << (int)(cr1 >> 3 & 7));
            }
        }

        private const uint Rxne = 1u, Txe = 2u, Ovr = 64u, Bsy = 128u;
        private const long ConversionTicks = 185; // t_CONV is 2.2 us at most
        private const int Tim3 = 1;

        private ulong conversions;
        private bool cnv;       // the converter is outside the chip: a reset does not touch these
        private bool heldValid;
        private ushort held;
        private long cnvTick;
        private ushort shifted;
        private bool waiting;
        private bool drWasRead;
        private long end;
        private readonly Dma dma;
        private readonly Tim convert;
        private readonly Mains mains;
        private readonly int zeroCode;

        private enum Registers : long
        {
            CR1 = 0x00,
            CR2 = 0x04,
            SR = 0x08,
            DR = 0x0C,
            CRCPR = 0x10,
            RXCRCR = 0x14,
            TXCRCR = 0x18,
            I2SCFGR = 0x1C,
            I2SPR = 0x20
        }
    }
}
