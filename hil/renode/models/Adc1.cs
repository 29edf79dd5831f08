// ADC1 (RM0090 13): regular group by trigger with DMA, injected group between, in ADC clocks.
// Not here: the analog watchdog, ADC2 and ADC3, dual modes.
using System;
using System.Collections.Generic;
using Antmicro.Renode.Core;
using Antmicro.Renode.Peripherals.Bus;

namespace Antmicro.Renode.Peripherals.Opq
{
    [AllowedTranslations(AllowedTranslation.ByteToDoubleWord | AllowedTranslation.WordToDoubleWord)]
    public class Adc1 : OpqBlock, IOpqStage, IOpqTriggered
    {
        // mainsChannel: the one that the mains comes in on; the others hold what the world file says.
        public Adc1(IMachine machine, Chain chain, Dma dma, Tim trigger, Mains mains, int mainsChannel = 10)
            : base(machine, chain, 0x400)
        {
            this.dma = dma;
            this.trigger = trigger;
            this.mains = mains;
            this.mainsChannel = mainsChannel;
            IRQ = new GPIO();
            Define((long)Registers.SR, 0x0, 0x00000000);
            Define((long)Registers.CR1, 0x0, 0x07C0FFFF);
            Define((long)Registers.CR2, 0x0, 0x3F3F0F03);
            Define((long)Registers.SMPR1, 0x0, 0x07FFFFFF);
            Define((long)Registers.SMPR2, 0x0, 0x3FFFFFFF);
            Define((long)Registers.JOFR1, 0x0, 0x00000FFF);
            Define((long)Registers.JOFR2, 0x0, 0x00000FFF);
            Define((long)Registers.JOFR3, 0x0, 0x00000FFF);
            Define((long)Registers.JOFR4, 0x0, 0x00000FFF);
            Define((long)Registers.HTR, 0xFFF, 0x00000FFF);
            Define((long)Registers.LTR, 0x0, 0x00000FFF);
            Define((long)Registers.SQR1, 0x0, 0x00FFFFFF);
            Define((long)Registers.SQR2, 0x0, 0x3FFFFFFF);
            Define((long)Registers.SQR3, 0x0, 0x3FFFFFFF);
            Define((long)Registers.JSQR, 0x0, 0x003FFFFF);
            Define((long)Registers.JDR1, 0x0, 0x00000000);
            Define((long)Registers.JDR2, 0x0, 0x00000000);
            Define((long)Registers.JDR3, 0x0, 0x00000000);
            Define((long)Registers.JDR4, 0x0, 0x00000000);
            Define((long)Registers.DR, 0x0, 0x00000000);
            Define((long)Registers.CommonCSR, 0x0, 0x00000000);
            Define((long)Registers.CommonCCR, 0x0, 0x00C3EF1F);
            Define((long)Registers.CommonCDR, 0x0, 0x00000000);
            chain.Add(this);
            chain.AddTriggered(this);
            inputs[16] = 943;  // DS8626 table 80: 25 C
            inputs[17] = 1502; // table 82: the supply is 3.3 V
            Reset();
        }

        public void SetInput(int channel, uint value)
        {
            inputs[channel] = value & 0xFFF;
        }

        // RM0090 13.6, tables 68 and 69: EXTSEL and JEXTSEL of TIM2 to TIM5_TRGO; -1: none.
        public void OnTrgo(int timer, long tick)
        {
            var cr2 = this[(long)Registers.CR2];
            if((cr2 >> 28 & 1) != 0 && (cr2 >> 24 & 15) == RegularTrgo[timer])
            {
                Trigger(false, tick);
            }
            if((cr2 >> 20 & 1) != 0 && (cr2 >> 16 & 15) == InjectedTrgo[timer])
            {
                Trigger(true, tick);
            }
        }

        public void OnOutput(int timer, int channel, bool rising, long tick)
        {
            var cr2 = this[(long)Registers.CR2];
            var edge = rising ? 1u : 2u;
            if((cr2 >> 28 & edge) != 0 && (cr2 >> 24 & 15) == RegularOutput[timer * 4 + channel])
            {
                Trigger(false, tick);
            }
            if((cr2 >> 20 & edge) != 0 && (cr2 >> 16 & 15) == InjectedOutput[timer * 4 + channel])
            {
                Trigger(true, tick);
            }
        }

        // The conversion under way ends.
        public void Fire()
        {
            var tick = end;
            var value = Aligned(Input(channel, sampled));
            end = OpqTime.Never;
            if(injecting)
            {
                InjectedDone(value, tick);
            }
            else
            {
                RegularDone(value, tick);
            }
            UpdateIrq();
        }

        public long NextTick
        {
            get { return end; }
        }

        public int Order
        {
            get { return 0; }
        }

        public long InterruptTick
        {
            get
            {
                if((this[(long)Registers.CR1] & 0xA0) != 0) // EOCIE, JEOCIE
                {
                    return Math.Min(end, trigger.NextTick);
                }
                if((this[(long)Registers.CR2] & 0x101) != 0x101)
                {
                    return OpqTime.Never;
                }
                var items = dma.ItemsToInterrupt(0x11, 0);
                return items == 0 ? OpqTime.Never : ItemTick(items);
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

        public ulong InjectedCount { get; private set; }

        // Triggers that found the converter busy.
        public ulong Missed { get; private set; }

        public ulong Overruns { get; private set; }

        // Regular conversions that an injected group broke off, and triggers that had to wait for one.
        public ulong Preempted { get; private set; }

        public ulong Delayed { get; private set; }

        // Triggers while the converter was off.
        public ulong Ignored { get; private set; }

        public override IEnumerable<KeyValuePair<string, ulong>> Counters
        {
            get
            {
                yield return Counter("conversions", ConversionCount);
                yield return Counter("injected", InjectedCount);
                yield return Counter("missed", Missed);
                yield return Counter("overruns", Overruns);
                yield return Counter("preempted", Preempted);
                yield return Counter("delayed", Delayed);
                yield return Counter("ignored", Ignored);
            }
        }

        protected override void OnReset()
        {
            end = OpqTime.Never;
            regularResumes = -1;
            regularWaits = injecting = dmaEnded = false;
            UpdateIrq();
        }

        protected override uint OnRead(long offset, uint stored)
        {
            if((Registers)offset == Registers.DR)
            {
                this[(long)Registers.SR] &= ~Eoc;
                UpdateIrq();
            }
            return (Registers)offset == Registers.CommonCSR ? this[(long)Registers.SR] & 0x3F : stored;
        }

        protected override void OnWrite(long offset, uint before, uint value)
        {
            switch((Registers)offset)
            {
            case Registers.SR:
                this[offset] = before & value; // rc_w0
                break;
            case Registers.CR1:
                if((this[offset] & 0x00C00000) != 0)
                {
                    Violation("the ADC's analog watchdog is not modelled");
                }
                break;
            case Registers.CR2:
                WrittenCr2(before, value);
                break;
            }
            UpdateIrq();
        }

        private void WrittenCr2(uint before, uint value)
        {
            var now = this[(long)Registers.CR2];
            if((now & ~before & 0x1) != 0)
            {
                onTick = chain.NowTick;
            }
            if((now & ~before & 0x100) != 0)
            {
                dmaEnded = false;
            }
            if((now & 1) == 0)
            {
                end = OpqTime.Never; // what was converted is lost
                regularResumes = -1;
                regularWaits = false;
                return;
            }
            if((value & 0x00400000) != 0) // JSWSTART
            {
                Trigger(true, chain.NowTick);
            }
            if((value & 0x40000000) != 0) // SWSTART
            {
                Trigger(false, chain.NowTick);
            }
        }

        private void Trigger(bool injected, long tick)
        {
            var cr2 = this[(long)Registers.CR2];
            if((cr2 & 1) == 0)
            {
                Ignored++;
                return;
            }
            if(tick - onTick < StabiliseTicks)
            {
                Violation("ADC triggered within 3 us of ADON");
            }
            if(84000000 / Prescaler > 36000000)
            {
                Violation("ADCCLK above 36 MHz");
            }
            var busy = end != OpqTime.Never;
            if(injected)
            {
                if(busy && injecting)
                {
                    Ignored++;
                    return;
                }
                if(busy)
                {
                    Preempted++;
                    regularResumes = rank;
                }
                Begin(true, 0, tick);
            }
            else if((this[(long)Registers.SR] & Ovr) != 0 && (cr2 & 0x500) != 0)
            {
                Missed++; // 13.8.1: it stands still until OVR is cleared
            }
            else if(busy && injecting)
            {
                Missed += regularWaits ? 1UL : 0UL; // 13.3.10: it runs when the injected group is done
                regularWaits = true;
            }
            else if(busy)
            {
                Missed++;
            }
            else
            {
                Begin(false, 0, tick);
            }
        }

        private void Begin(bool injected, int newRank, long tick)
        {
            var jsqr = this[(long)Registers.JSQR];
            var first = 3 - (int)(jsqr >> 20 & 3); // 13.13.12: a short injected group is that of the last entries
            injecting = injected;
            rank = newRank;
            channel = injected ? (int)(jsqr >> ((first + rank) * 5) & 31) : RegularChannel(rank);
            sampled = tick + SampleTicks(channel); // the switch opens at the end of sampling
            end = tick + ConversionTicks(channel);
            this[(long)Registers.SR] |= injected ? Jstrt : Strt;
        }

        private void RegularDone(uint value, long tick)
        {
            var cr2 = this[(long)Registers.CR2];
            var last = rank == LastRank(false);
            var status = this[(long)Registers.SR];
            conversions++;
            if((status & Eoc) != 0 && (cr2 & 0x500) != 0)
            {
                Overruns++;
                this[(long)Registers.SR] |= Ovr;
                return;
            }
            this[(long)Registers.DR] = value;
            if(last || (cr2 & 0x500) != 0)
            {
                this[(long)Registers.SR] |= Eoc;
            }
            if((cr2 & 0x100) != 0 && !dmaEnded && dma.Take(0x11, 0, 0x4001204C, value))
            {
                this[(long)Registers.SR] &= ~Eoc; // DMA read DR
                dmaEnded = (cr2 & 0x200) == 0 && dma.ItemsToInterrupt(0x11, 0) == 0; // 13.8.1: DDS asks on
            }
            if(!last)
            {
                Begin(false, rank + 1, tick);
            }
            else if((this[(long)Registers.CR1] & 0x400) != 0) // JAUTO
            {
                Begin(true, 0, tick);
            }
            else if((cr2 & 2) != 0)
            {
                Begin(false, 0, tick);
            }
        }

        private void InjectedDone(uint value, long tick)
        {
            InjectedCount++;
            this[(long)Registers.JDR1 + 4 * rank] = (value - this[(long)Registers.JOFR1 + 4 * rank]) & 0xFFFF;
            if(rank < LastRank(true))
            {
                Begin(true, rank + 1, tick);
                return;
            }
            this[(long)Registers.SR] |= Jeoc;
            if(regularResumes >= 0)
            {
                var resumed = regularResumes;
                regularResumes = -1;
                Begin(false, resumed, tick);
            }
            else if(regularWaits)
            {
                regularWaits = false;
                Delayed++;
                Begin(false, 0, tick);
            }
        }

        // When item number `items` from now will have gone through DMA, never later than the truth.
        private long ItemTick(long items)
        {
            var perTrigger = (this[(long)Registers.CR1] & 0x100) != 0 ? (this[(long)Registers.SQR1] >> 20 & 15) + 1 : 1;
            if(end != OpqTime.Never && (injecting || --items == 0 || perTrigger > 1))
            {
                return end;
            }
            if((this[(long)Registers.CR2] & 2) != 0)
            {
                return end; // free running
            }
            var next = trigger.NextUpdate;
            if(next == OpqTime.Never)
            {
                return OpqTime.Never;
            }
            return next + (items - 1) / perTrigger * trigger.Period + ConversionTicks(RegularChannel(0));
        }

        private uint Input(int input, long tick)
        {
            if(input >= inputs.Length)
            {
                return 0;
            }
            if((input == 16 || input == 17) && (this[(long)Registers.CommonCCR] & 0x00800000) == 0)
            {
                Violation("temperature or VREFINT converted without ADC_CCR.TSVREFE");
                return 0;
            }
            if(input == mainsChannel)
            {
                var count = mains.Count("adc1", tick);
                if(count >= 0)
                {
                    return (uint)Math.Min(4095, count);
                }
            }
            return inputs[input];
        }

        private uint Aligned(uint value)
        {
            var bits = 12 - 2 * (int)(this[(long)Registers.CR1] >> 24 & 3);
            value >>= 12 - bits;
            return (this[(long)Registers.CR2] & 0x800) != 0 ? value << (16 - bits) : value;
        }

        private int RegularChannel(int of)
        {
            return (int)(this[(long)Registers.SQR3 - 4 * (of / 6)] >> (of % 6 * 5) & 31);
        }

        private int LastRank(bool injected)
        {
            if((this[(long)Registers.CR1] & 0x100) == 0) // SCAN
            {
                return 0;
            }
            return (int)(injected ? this[(long)Registers.JSQR] >> 20 & 3 : this[(long)Registers.SQR1] >> 20 & 15);
        }

        private long SampleTicks(int of)
        {
            var smp = of > 9 ? this[(long)Registers.SMPR1] >> (3 * (of - 10)) & 7
                : this[(long)Registers.SMPR2] >> (3 * of) & 7;
            return Cycles[smp] * Prescaler;
        }

        private long ConversionTicks(int of)
        {
            return SampleTicks(of) + (12 - 2 * (this[(long)Registers.CR1] >> 24 & 3)) * Prescaler;
        }

        // The firmware enables OVR alone. DMA takes every conversion here, so the line does not rise while it samples; if it
        // rose, the converter would stand still already, and a wake-up that is a SysTick (1 ms) late would make a hole that
        // is counted from ticks at most 12 samples longer.
        private void UpdateIrq()
        {
            var cr1 = this[(long)Registers.CR1];
            var wanted = ((cr1 & 0x20) != 0 ? Eoc : 0) | ((cr1 & 0x80) != 0 ? Jeoc : 0) | ((cr1 & 0x4000000) != 0 ? Ovr : 0);
            IRQ.Set((this[(long)Registers.SR] & wanted) != 0);
        }

        // PCLK2 is one tick.
        private long Prescaler
        {
            get { return ((this[(long)Registers.CommonCCR] >> 16 & 3) + 1) * 2; }
        }

        private const uint Eoc = 2u, Jeoc = 4u, Jstrt = 8u, Strt = 16u, Ovr = 32u;
        private const long StabiliseTicks = 252; // DS8626 table 67: tSTAB 3 us

        private ulong conversions;
        private long onTick;
        private long end;     // of the conversion under way
        private long sampled;
        private bool injecting;
        private bool regularWaits;
        private bool dmaEnded;
        private int rank;
        private int channel;
        private int regularResumes;
        private readonly Dma dma;
        private readonly Tim trigger;
        private readonly Mains mains;
        private readonly int mainsChannel;
        private readonly uint[] inputs = new uint[19];

        private static readonly long[] Cycles = { 3, 15, 28, 56, 84, 112, 144, 480 };
        private static readonly int[] RegularTrgo = { 6, 8, -1, -1 };
        private static readonly int[] InjectedTrgo = { 3, -1, 9, 11 };
        private static readonly int[] RegularOutput = { -1, 3, 4, 5, 7, -1, -1, -1, -1, -1, -1, 9, 10, 11, 12, -1 };
        private static readonly int[] InjectedOutput = { 2, -1, -1, -1, -1, 4, -1, 5, 6, 7, 8, -1, -1, -1, -1, 10 };

        private enum Registers : long
        {
            SR = 0x00,
            CR1 = 0x04,
            CR2 = 0x08,
            SMPR1 = 0x0C,
            SMPR2 = 0x10,
            JOFR1 = 0x14,
            JOFR2 = 0x18,
            JOFR3 = 0x1C,
            JOFR4 = 0x20,
            HTR = 0x24,
            LTR = 0x28,
            SQR1 = 0x2C,
            SQR2 = 0x30,
            SQR3 = 0x34,
            JSQR = 0x38,
            JDR1 = 0x3C,
            JDR2 = 0x40,
            JDR3 = 0x44,
            JDR4 = 0x48,
            DR = 0x4C,
            CommonCSR = 0x300,
            CommonCCR = 0x304,
            CommonCDR = 0x308
        }
    }
}
