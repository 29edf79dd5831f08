// What the models of the Box share: time in ticks of 84 MHz, numbers from a seed, a block of registers.
// C# 6 at most, so that Renode 1.16.1's compiler (Mono.CSharp) takes it as well as a newer one's (Roslyn).
using System;
using System.Collections.Generic;
using Antmicro.Renode.Core;
using Antmicro.Renode.Logging;
using Antmicro.Renode.Peripherals.Bus;
using Antmicro.Renode.Peripherals.Timers;
using Antmicro.Renode.Time;

namespace Antmicro.Renode.Peripherals.Opq
{
    public static class OpqTime
    {
        public const long Never = Int64.MaxValue;

        // 84 MHz: 21 ticks in 250 ns, the tick in which a ns lies. 2^63 / 21 ns are 13 years.
        public static long TickOfNs(long ns)
        {
            return ns * 21 / 250;
        }

        // The first ns that lies in a tick.
        public static long NsOfTick(long tick)
        {
            return tick == Never ? Never : (tick * 250 + 20) / 21;
        }
    }

    // splitmix64: the same numbers for the same seed on every machine.
    public class OpqRandom
    {
        public OpqRandom(ulong seed)
        {
            state = seed;
        }

        public ulong Next()
        {
            unchecked
            {
                state += 0x9E3779B97F4A7C15UL;
                var word = state;
                word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9UL;
                word = (word ^ (word >> 27)) * 0x94D049BB133111EBUL;
                return word ^ (word >> 31);
            }
        }

        public byte[] Bytes(int count)
        {
            var found = new byte[count];
            for(var at = 0; at < count; at += 8)
            {
                var word = Next();
                for(var lane = 0; lane < 8 && at + lane < count; lane++)
                {
                    found[at + lane] = (byte)(word >> (8 * lane));
                }
            }
            return found;
        }

        private ulong state;
    }

    // Ends the CPU's sleep 1 us after a line rose. Renode (1.16.1 and 06854d4d) goes on to the next limit of a timer when a
    // block of instructions ended with WFI, and does not look at a line that rose in that very instant. This timer's limit
    // is such a limit, and its handler has nothing to do. Where no other comes first, the next one is SysTick's, at most
    // 1 ms later: a model whose line may wait that long says so beside it.
    public class WakeUp
    {
        public WakeUp(IMachine machine, IPeripheral owner)
        {
            timer = new LimitTimer(machine.ClockSource, 1000000000, owner, "wake up", DelayNs,
                direction: Direction.Ascending, eventEnabled: true, workMode: WorkMode.OneShot);
            timer.LimitReached += Reached;
        }

        public void Plan()
        {
            timer.Value = 0;
            timer.Enabled = true;
        }

        // The limit has ended the sleep by itself.
        private void Reached()
        {
        }

        private const ulong DelayNs = 1000;

        private readonly LimitTimer timer;
    }

    // Registers by offset: each Define line names one, its reset value and the bits that a write may change.
    // A model overrides OnRead and OnWrite where a register does more than keep its bits.
    public abstract class OpqBlock : BasicDoubleWordPeripheral, IKnownSize
    {
        protected OpqBlock(IMachine machine, Chain chain, long size) : base(machine)
        {
            this.chain = chain;
            this.size = size;
        }

        public override void Reset()
        {
            base.Reset();
            foreach(var entry in resetValues)
            {
                values[entry.Key] = entry.Value;
            }
            OnReset();
        }

        public override uint ReadDoubleWord(long offset)
        {
            if(OnChain)
            {
                chain.Sync(true);
            }
            uint stored;
            if(!values.TryGetValue(offset, out stored))
            {
                Touch(offset);
                this.Log(LogLevel.Warning, "Unhandled read from offset 0x{0:X}", offset);
                return 0;
            }
            var value = OnRead(offset, stored);
            if(OnChain)
            {
                chain.Rearm();
            }
            return value;
        }

        public override void WriteDoubleWord(long offset, uint value)
        {
            if(OnChain)
            {
                chain.Sync(true);
            }
            uint before;
            if(!values.TryGetValue(offset, out before))
            {
                Touch(offset);
                this.Log(LogLevel.Warning, "Unhandled write to offset 0x{0:X}, value 0x{1:X}", offset, value);
                return;
            }
            var mask = writable[offset];
            values[offset] = (before & ~mask) | (value & mask);
            OnWrite(offset, before, value);
            if(OnChain)
            {
                chain.Rearm();
            }
        }

        public long Size
        {
            get { return size; }
        }

        // Accesses to offsets that no register has.
        public ulong Unhandled { get; private set; }

        // What the firmware asked for and the model does not do, or no silicon would; each once in the log.
        public ulong Violations { get; private set; }

        // For the report: offset -> how often; text -> how often.
        public IEnumerable<KeyValuePair<long, ulong>> UnhandledOffsets
        {
            get { return touched; }
        }

        public IEnumerable<KeyValuePair<string, ulong>> ViolationTexts
        {
            get { return reported; }
        }

        // Counters for the report, by name.
        public virtual IEnumerable<KeyValuePair<string, ulong>> Counters
        {
            get { yield break; }
        }

        // Whether its registers have to do with what hangs together by ticks; if not, an access costs a tenth.
        protected virtual bool OnChain
        {
            get { return true; }
        }

        protected void Define(long offset, uint reset, uint mask)
        {
            resetValues.Add(offset, reset);
            values.Add(offset, reset);
            writable.Add(offset, mask);
        }

        protected uint this[long offset]
        {
            get { return values[offset]; }
            set { values[offset] = value; }
        }

        protected virtual void OnReset()
        {
        }

        protected virtual uint OnRead(long offset, uint stored)
        {
            return stored;
        }

        protected virtual void OnWrite(long offset, uint before, uint value)
        {
        }

        protected void Violation(string what)
        {
            Violations++;
            ulong before;
            if(!reported.TryGetValue(what, out before))
            {
                this.Log(LogLevel.Error, "violation: {0}", what);
            }
            reported[what] = before + 1;
        }

        protected static KeyValuePair<string, ulong> Counter(string name, ulong value)
        {
            return new KeyValuePair<string, ulong>(name, value);
        }

        private void Touch(long offset)
        {
            ulong before;
            touched.TryGetValue(offset, out before);
            touched[offset] = before + 1;
            Unhandled++;
        }

        protected readonly Chain chain;

        private readonly long size;
        private readonly Dictionary<long, uint> resetValues = new Dictionary<long, uint>();
        private readonly Dictionary<long, uint> values = new Dictionary<long, uint>();
        private readonly Dictionary<long, uint> writable = new Dictionary<long, uint>();
        private readonly Dictionary<long, ulong> touched = new Dictionary<long, ulong>();
        private readonly Dictionary<string, ulong> reported = new Dictionary<string, ulong>();
    }
}
