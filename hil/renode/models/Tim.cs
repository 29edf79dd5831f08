// TIM2 to TIM5 (RM0090 18): counting up, update, compare, PWM, input capture and capture of TRC. The counter is
// computed from virtual time, so that no remainder of a period is ever lost.
// Not here: counting down or centred, slave modes, the encoder, DMA bursts (kept; a violation when asked for).
using System;
using System.Collections.Generic;
using Antmicro.Renode.Core;
using Antmicro.Renode.Peripherals.Bus;

namespace Antmicro.Renode.Peripherals.Opq
{
    [AllowedTranslations(AllowedTranslation.ByteToDoubleWord | AllowedTranslation.WordToDoubleWord)]
    public class Tim : OpqBlock, IOpqStage, IOpqTriggered, IGPIOReceiver
    {
        // number: 2 to 5, of the timer.
        public Tim(IMachine machine, Chain chain, int number) : base(machine, chain, 0x400)
        {
            IRQ = new GPIO();
            index = number - 2;
            max = number == 2 || number == 5 ? UInt32.MaxValue : 0xFFFFu;
            Define((long)Registers.CR1, 0x0, 0x000003FF);
            Define((long)Registers.CR2, 0x0, 0x000000F8);
            Define((long)Registers.SMCR, 0x0, 0x0000FFF7);
            Define((long)Registers.DIER, 0x0, 0x00005F5F);
            Define((long)Registers.SR, 0x0, 0x00000000);
            Define((long)Registers.EGR, 0x0, 0x00000000);
            Define((long)Registers.CCMR1, 0x0, 0x0000FFFF);
            Define((long)Registers.CCMR2, 0x0, 0x0000FFFF);
            Define((long)Registers.CCER, 0x0, 0x0000BBBB);
            Define((long)Registers.CNT, 0x0, 0x00000000);
            Define((long)Registers.PSC, 0x0, 0x0000FFFF);
            Define((long)Registers.ARR, max, max);
            Define((long)Registers.CCR1, 0x0, 0x00000000);
            Define((long)Registers.CCR2, 0x0, 0x00000000);
            Define((long)Registers.CCR3, 0x0, 0x00000000);
            Define((long)Registers.CCR4, 0x0, 0x00000000);
            Define((long)Registers.DCR, 0x0, 0x00001F1F);
            Define((long)Registers.DMAR, 0x0, 0x00000000);
            Define((long)Registers.OR, 0x0, 0x00000CC0);
            chain.Add(this);
            chain.AddTriggered(this);
            Reset();
        }

        // Input n is the pin of channel n + 1. A level at connect time is no edge.
        public void OnGPIO(int number, bool value)
        {
            Pin(number, value, chain.NowTick);
        }

        // A pin moves at `tick`: ICx takes TIx (CCxS = 1) or its neighbour's (2).
        public void Pin(int input, bool level, long tick)
        {
            for(var channel = input & ~1; channel < (input & ~1) + 2; channel++)
            {
                var edges = this[(long)Registers.CCER] >> (4 * channel + 1) & 5;
                var source = Mode(channel) & 3;
                var wanted = edges == 5 || (edges == 0 && level) || (edges == 1 && !level);
                if(source == (channel == input ? 1u : 2u) && wanted)
                {
                    Captured(channel, tick);
                }
            }
            UpdateIrq();
        }

        // TRC of another timer's TRGO: RM0090 18.4.3, table 97.
        public void OnTrgo(int timer, long tick)
        {
            var trigger = this[(long)Registers.SMCR] >> 4 & 7;
            if(trigger < 4 && Itr[index][trigger] == timer)
            {
                for(var channel = 0; channel < 4; channel++)
                {
                    if((Mode(channel) & 3) == 3)
                    {
                        Captured(channel, tick);
                    }
                }
                UpdateIrq();
            }
        }

        public void OnOutput(int timer, int channel, bool rising, long tick)
        {
        }

        public void Fire()
        {
            var tick = NextTick;
            if(tick == NextUpdate)
            {
                Update(tick, false);
            }
            else
            {
                for(var channel = 0; channel < 4; channel++)
                {
                    if(NextMatch(channel) == tick)
                    {
                        Matched(channel, tick);
                    }
                }
                done = tick;
            }
            UpdateIrq();
        }

        public long NextTick
        {
            get
            {
                var next = NextUpdate;
                for(var channel = 0; channel < 4; channel++)
                {
                    next = Math.Min(next, NextMatch(channel));
                }
                return next;
            }
        }

        public int Order
        {
            get { return 10 + index; }
        }

        public long InterruptTick
        {
            get
            {
                var wanted = this[(long)Registers.DIER] & 0x5F;
                return wanted == 0 ? OpqTime.Never : ((wanted & 0x1E) == 0 ? NextUpdate : NextTick);
            }
        }

        public long NextUpdate
        {
            get
            {
                var top = count <= arrNow ? (long)arrNow : (long)max; // beyond ARR it runs to its full width first
                return Counting ? start + (top + 1 - count) * Step : OpqTime.Never;
            }
        }

        // First tick after what is done at which the counter arrives at CCRx, if that is in this round.
        public long NextMatch(int channel)
        {
            if(!Counting || !IsOutput(channel) || ccrNow[channel] < count)
            {
                return OpqTime.Never;
            }
            var tick = start + (long)(ccrNow[channel] - count) * Step;
            return tick > done && tick < NextUpdate ? tick : OpqTime.Never;
        }

        public long Period
        {
            get { return Step * ((long)arrNow + 1); }
        }

        // The next match of a channel whose compare asks for DMA, also when it lies in the next round.
        public long NextCompare(int channel)
        {
            var next = NextMatch(channel);
            return next != OpqTime.Never || NextUpdate == OpqTime.Never ? next : NextUpdate + ccrNow[channel] * Step;
        }

        public GPIO IRQ { get; private set; }

        public ulong Updates { get; private set; }

        // Channels count from 1, as in RM0090.
        public ulong CapturesOf(int channel)
        {
            return captures[channel - 1];
        }

        public ulong OvercapturesOf(int channel)
        {
            return overcaptures[channel - 1];
        }

        public override IEnumerable<KeyValuePair<string, ulong>> Counters
        {
            get
            {
                yield return Counter("updates", Updates);
                yield return Counter("captures1", captures[0]);
                yield return Counter("overcaptures1", overcaptures[0]);
                yield return Counter("captures2", captures[1]);
            }
        }

        protected override void OnReset()
        {
            arrNow = max;
            pscNow = 0;
            count = 0;
            start = done = 0;
            Array.Clear(ccrNow, 0, 4);
            Array.Clear(level, 0, 4);
            Array.Clear(edgesSeen, 0, 4);
            UpdateIrq();
        }

        protected override uint OnRead(long offset, uint stored)
        {
            switch((Registers)offset)
            {
            case Registers.EGR:
                return 0;
            case Registers.CNT:
                return CountAt(chain.NowTick);
            case Registers.CCR1:
            case Registers.CCR2:
            case Registers.CCR3:
            case Registers.CCR4:
                var channel = (int)(offset - (long)Registers.CCR1) / 4;
                if(!IsOutput(channel))
                {
                    this[(long)Registers.SR] &= ~(2u << channel); // 18.4.5: in input mode a read clears the flag
                    UpdateIrq();
                }
                return stored;
            default:
                return stored;
            }
        }

        protected override void OnWrite(long offset, uint before, uint value)
        {
            var tick = chain.NowTick;
            switch((Registers)offset)
            {
            case Registers.CR1:
                WrittenCr1(before, tick);
                break;
            case Registers.SMCR:
                if((this[offset] & 7) != 0)
                {
                    Violation("TIMx_SMCR: slave modes are not modelled");
                }
                break;
            case Registers.SR:
                this[offset] = before & value; // rc_w0
                break;
            case Registers.EGR:
                Generate(value, tick);
                break;
            case Registers.CNT:
                count = value & max;
                start = done = tick;
                break;
            case Registers.ARR:
                if((this[(long)Registers.CR1] & 0x80) == 0)
                {
                    count = CountAt(tick);
                    start += (tick - start) / Step * Step;
                    arrNow = this[offset];
                }
                break;
            case Registers.CCR1:
            case Registers.CCR2:
            case Registers.CCR3:
            case Registers.CCR4:
                var channel = (int)(offset - (long)Registers.CCR1) / 4;
                if(IsOutput(channel)) // 18.4.13: read-only as an input
                {
                    this[offset] = value & max;
                    if((Mode(channel) & 8) == 0)
                    {
                        ccrNow[channel] = value & max;
                    }
                }
                break;
            }
            UpdateIrq();
        }

        private void WrittenCr1(uint before, long tick)
        {
            var now = this[(long)Registers.CR1];
            if((now & 0x70) != 0)
            {
                Violation("TIMx_CR1: counting down or centred is not modelled");
            }
            if(((now ^ before) & 1) != 0)
            {
                // The counter goes on from where it stood, or stands where it is.
                count = (before & 1) != 0 && arrNow != 0 ? count + (uint)((tick - start) / Step) : count;
                start = done = tick;
            }
        }

        private void Generate(uint value, long tick)
        {
            for(var channel = 0; channel < 4; channel++)
            {
                if((value >> (1 + channel) & 1) == 0)
                {
                    continue;
                }
                if(IsOutput(channel))
                {
                    this[(long)Registers.SR] |= 2u << channel;
                }
                else
                {
                    Captured(channel, tick);
                }
            }
            if((value & 1) != 0)
            {
                Update(tick, true);
            }
        }

        private void Update(long tick, bool bySoftware)
        {
            start = done = tick;
            count = 0;
            Updates++;
            var cr1 = this[(long)Registers.CR1];
            var mms = this[(long)Registers.CR2] >> 4 & 7;
            if((cr1 & 2) == 0) // UDIS
            {
                pscNow = this[(long)Registers.PSC];
                arrNow = this[(long)Registers.ARR];
                for(var channel = 0; channel < 4; channel++)
                {
                    if(IsOutput(channel))
                    {
                        ccrNow[channel] = this[(long)Registers.CCR1 + 4 * channel];
                    }
                }
                if(!(bySoftware && (cr1 & 4) != 0)) // URS
                {
                    this[(long)Registers.SR] |= 1;
                }
                if(mms == 2 || (bySoftware && mms == 0))
                {
                    chain.Trgo(index, tick);
                }
            }
            if((cr1 & 8) != 0) // one pulse
            {
                this[(long)Registers.CR1] &= ~1u;
            }
            for(var channel = 0; channel < 4; channel++)
            {
                if(!IsOutput(channel))
                {
                    continue;
                }
                SetOutput(channel, true, tick);
                if(ccrNow[channel] == 0 && Counting)
                {
                    Matched(channel, tick);
                }
            }
        }

        private void Matched(int channel, long tick)
        {
            this[(long)Registers.SR] |= 2u << channel;
            SetOutput(channel, false, tick);
            if((this[(long)Registers.DIER] >> (9 + channel) & 1) != 0)
            {
                chain.Compare(index, channel, tick);
            }
        }

        // OCxREF moves: the PWM modes by compare and update, active and inactive by compare (18.4.7).
        private void SetOutput(int channel, bool update, long tick)
        {
            var how = Mode(channel) >> 4 & 7;
            var wide = ccrNow[channel] != 0;
            bool now;
            if(how == 6)
            {
                now = update && wide;
            }
            else if(how == 7)
            {
                now = !update || !wide;
            }
            else if(!update && (how == 1 || how == 2))
            {
                now = how == 1;
            }
            else if(!update && how == 3)
            {
                now = !level[channel];
            }
            else
            {
                return;
            }
            if(now == level[channel])
            {
                return;
            }
            level[channel] = now;
            var ccer = this[(long)Registers.CCER];
            if((ccer >> (4 * channel) & 1) != 0)
            {
                chain.Output(index, channel, now != ((ccer >> (4 * channel + 1) & 1) != 0), tick);
            }
        }

        private void Captured(int channel, long tick)
        {
            var every = 1u << (int)(Mode(channel) >> 2 & 3);
            if((this[(long)Registers.CCER] >> (4 * channel) & 1) == 0 || ++edgesSeen[channel] % every != 0)
            {
                return;
            }
            this[(long)Registers.CCR1 + 4 * channel] = CountAt(tick);
            captures[channel]++;
            if((this[(long)Registers.SR] & (2u << channel)) != 0)
            {
                this[(long)Registers.SR] |= 0x200u << channel;
                overcaptures[channel]++;
            }
            this[(long)Registers.SR] |= 2u << channel;
        }

        private uint CountAt(long tick)
        {
            if(!Counting)
            {
                return count;
            }
            if(tick < start) // an event of the outside, reported a little late: still in the round before
            {
                var back = (start - tick + Step - 1) / Step;
                return (uint)((count + (long)arrNow + 1 - back) % ((long)arrNow + 1));
            }
            return count + (uint)((tick - start) / Step);
        }

        private uint Mode(int channel)
        {
            return this[(long)Registers.CCMR1 + 4 * (channel / 2)] >> (channel % 2 * 8) & 0xFF;
        }

        private bool IsOutput(int channel)
        {
            return (Mode(channel) & 3) == 0;
        }

        // TIM5's capture alone interrupts. A wake-up that is late loses no pulse: CCR1 keeps the tick until the next edge,
        // and there is a limit before that, where the pulse falls (World.cs). TIM3 has no interrupt enabled.
        private void UpdateIrq()
        {
            IRQ.Set((this[(long)Registers.SR] & this[(long)Registers.DIER] & 0x5F) != 0);
        }

        private bool Counting
        {
            get { return (this[(long)Registers.CR1] & 1) != 0 && arrNow != 0; }
        }

        private long Step
        {
            get { return (long)pscNow + 1; }
        }

        private uint arrNow;
        private uint pscNow;
        private uint count;  // at tick `start`
        private long start;
        private long done;   // every event up to this tick has happened
        private readonly int index;
        private readonly uint max;
        private readonly uint[] ccrNow = new uint[4];
        private readonly bool[] level = new bool[4];
        private readonly uint[] edgesSeen = new uint[4];
        private readonly ulong[] captures = new ulong[4];
        private readonly ulong[] overcaptures = new ulong[4];

        private static readonly int[][] Itr =
        {
            new[] { -1, -1, 1, 2 }, new[] { -1, 0, 3, 2 }, new[] { -1, 0, 1, -1 }, new[] { 0, 1, 2, -1 }
        };

        private enum Registers : long
        {
            CR1 = 0x00,
            CR2 = 0x04,
            SMCR = 0x08,
            DIER = 0x0C,
            SR = 0x10,
            EGR = 0x14,
            CCMR1 = 0x18,
            CCMR2 = 0x1C,
            CCER = 0x20,
            CNT = 0x24,
            PSC = 0x28,
            ARR = 0x2C,
            CCR1 = 0x34,
            CCR2 = 0x38,
            CCR3 = 0x3C,
            CCR4 = 0x40,
            DCR = 0x48,
            DMAR = 0x4C,
            OR = 0x50
        }
    }
}
