// The embedded flash interface (RM0090 3.9): keys and lock, busy times, errors of sequence, sectors, a power cut in
// the middle of an operation. The flash itself is mapped memory, into which the CPU stores without asking anyone: what
// it stored is found when it looks at SR or writes CR afterwards, and the NOR rule is laid over it then.
// Option bytes count once OPTSTRT has ended; a reset loads OPTCR from them. Not here: fetches that stall while BSY (the
// firmware waits in RAM), the brown-out level's effect, read protection; every run begins with the factory's options.
using System;
using System.Collections.Generic;
using Antmicro.Migrant;
using Antmicro.Renode.Core;
using Antmicro.Renode.Peripherals.Bus;
using Antmicro.Renode.Peripherals.Memory;
using Antmicro.Renode.Peripherals.Timers;
using Antmicro.Renode.Time;

namespace Antmicro.Renode.Peripherals.Opq
{
    [AllowedTranslations(AllowedTranslation.ByteToDoubleWord | AllowedTranslation.WordToDoubleWord)]
    public class FlashInterface : OpqBlock
    {
        public FlashInterface(IMachine machine, Chain chain, MappedMemory flash) : base(machine, chain, 0x400)
        {
            this.flash = flash;
            busyTimer = new LimitTimer(machine.ClockSource, 1000000000, this, "flash busy", UInt64.MaxValue,
                direction: Direction.Ascending, eventEnabled: true, workMode: WorkMode.OneShot);
            busyTimer.LimitReached += delegate
            {
                busy = false;
                if(inOptions)
                {
                    inOptions = false;
                    this[(long)Registers.OPTCR] &= ~OptStrt;
                    options = this[(long)Registers.OPTCR] & OptionBits;
                }
            };
            Define((long)Registers.ACR, 0x0, 0x00001F07);
            Define((long)Registers.KEYR, 0x0, 0x00000000);
            Define((long)Registers.OPTKEYR, 0x0, 0x00000000);
            Define((long)Registers.SR, 0x0, 0x00000000);
            Define((long)Registers.CR, 0x80000000, 0x00000000);
            Define((long)Registers.OPTCR, 0x0FFFAAED, 0x00000000);
            Reset();
        }

        // Contents at power-on: what the memory holds now is what silicon would hold.
        public void Begin(ulong newSeed, ulong newCutAfter)
        {
            seed = newSeed;
            cutAfter = newCutAfter;
            shadow = flash.ReadBytes(0, FlashBytes);
        }

        // Power goes now: an operation under way leaves its place torn, and nothing is written any more.
        public void Cut()
        {
            if(dead)
            {
                return;
            }
            Settle(true);
            if(busy && !inOptions && under != null)
            {
                Tear();
            }
            dead = true;
        }

        // The cells as they are, whatever the CPU has stored since power went.
        public byte[] Contents()
        {
            if(!dead)
            {
                Settle(true);
            }
            return shadow ?? flash.ReadBytes(0, FlashBytes);
        }

        // Power went in the middle of an operation, as `cut_after` wanted.
        [field: Transient]
        public event Action CutInOperation;

        public ulong Programs { get; private set; }

        public ulong Erases { get; private set; }

        public ulong Errors { get; private set; }

        public ulong OptionWrites { get; private set; }

        // Bits that were to go from 0 to 1: silicon leaves them 0 and does not tell.
        public ulong RefusedBits { get; private set; }

        public bool IsCut
        {
            get { return dead; }
        }

        public override IEnumerable<KeyValuePair<string, ulong>> Counters
        {
            get
            {
                yield return Counter("programs", Programs);
                yield return Counter("erases", Erases);
                yield return Counter("operations", operations);
                yield return Counter("option_writes", OptionWrites);
                yield return Counter("errors", Errors);
                yield return Counter("refused_bits", RefusedBits);
            }
        }

        protected override bool OnChain
        {
            get { return false; }
        }

        protected override void OnReset()
        {
            keyStep = optionKeyStep = 0;
            shut = optionShut = false;
            this[(long)Registers.OPTCR] = options | 1u;
        }

        protected override uint OnRead(long offset, uint stored)
        {
            switch((Registers)offset)
            {
            case Registers.SR:
                if(!busy)
                {
                    Settle(false); // a store while BSY would stall: nothing new can be found then
                }
                return this[offset] | (busy ? Bsy : 0);
            case Registers.KEYR:
            case Registers.OPTKEYR:
                return 0;
            default:
                return stored;
            }
        }

        protected override void OnWrite(long offset, uint before, uint value)
        {
            switch((Registers)offset)
            {
            case Registers.KEYR:
                if((this[(long)Registers.CR] & Lock) != 0 && Key(ref keyStep, ref shut, value, 0x45670123, 0xCDEF89AB))
                {
                    this[(long)Registers.CR] &= ~Lock;
                }
                if(shut)
                {
                    Violation("FLASH_KEYR: wrong key, locked until reset");
                }
                break;
            case Registers.OPTKEYR:
                if((this[(long)Registers.OPTCR] & 1) != 0 && Key(ref optionKeyStep, ref optionShut, value, 0x08192A3B, 0x4C5D6E7F))
                {
                    this[(long)Registers.OPTCR] &= ~1u;
                }
                break;
            case Registers.SR:
                Settle(true);
                this[offset] &= ~(value & 0xF3);
                break;
            case Registers.CR:
                WrittenControl(value);
                break;
            case Registers.OPTCR:
                if((before & 1) != 0)
                {
                    Violation("FLASH_OPTCR written while locked");
                }
                else if(busy)
                {
                    Violation("FLASH_OPTCR written while BSY");
                }
                else
                {
                    this[offset] = value & (OptionBits | OptStrt | 1u);
                    if((value & OptStrt) != 0)
                    {
                        OptionWrites++;
                        inOptions = true;
                        Busy(250064000); // a sector of 16 KB erased and four words, DS8626 table 46, x32
                    }
                }
                break;
            }
        }

        private void WrittenControl(uint value)
        {
            Settle(true);
            sought = true;
            var offset = (long)Registers.CR;
            if((this[offset] & Lock) != 0)
            {
                Violation("FLASH_CR written while locked");
                return;
            }
            if(busy)
            {
                Violation("FLASH_CR written while BSY");
                return;
            }
            this[offset] = value & 0x8300037F;
            if((value & Strt) != 0)
            {
                Erase();
            }
        }

        // Two keys in order open a lock; anything else closes it until reset (3.6.1, 3.7.2).
        private static bool Key(ref int step, ref bool shutFor, uint value, uint first, uint second)
        {
            if(shutFor)
            {
                return false;
            }
            if(step == 0 && value == first)
            {
                step = 1;
                return false;
            }
            shutFor = !(step == 1 && value == second);
            step = 0;
            return !shutFor;
        }

        private void Erase()
        {
            var control = this[(long)Registers.CR];
            var sector = (int)(control >> 3 & 15);
            if((control & Ser) == 0 || (control & Pg) != 0 || sector > 11)
            {
                Fail(PgsErr);
                return;
            }
            if(IsProtected(sector))
            {
                Fail(WrpErr);
                return;
            }
            var offset = sector < 4 ? sector * 0x4000 : (sector == 4 ? 0x10000 : (sector - 4) * 0x20000);
            var size = sector < 4 ? 0x4000 : (sector == 4 ? 0x10000 : 0x20000);
            var kind = sector < 4 ? 0 : (sector == 4 ? 1 : 2);
            Erases++;
            Operate(offset, size, 1000000L * EraseMs[Math.Min(2, control >> 8 & 3)][kind]);
            var empty = new byte[size];
            for(var at = 0; at < size; at++)
            {
                empty[at] = 0xFF;
            }
            Put(offset, empty);
            CountCut();
        }

        // Finds what the CPU has stored since the last time and lays the rules of flash over it. Stores come one after
        // the other, so with PG set the next words are looked at first, and all of it only for the first word since CR
        // was written. A store without PG is a fault that a look at all of it finds, which costs a millisecond of the
        // host's time: `faults` asks for one, and it is made once in a millisecond of the Box's at most.
        private void Settle(bool faults)
        {
            if(shadow == null || dead)
            {
                return;
            }
            if((this[(long)Registers.CR] & Pg) == 0)
            {
                var now = chain.NowNs(true);
                if(faults && now >= nextLookNs)
                {
                    nextLookNs = now + 1000000;
                    SettleAll();
                }
                return;
            }
            if(SettleNext() || (sought && SettleAll()))
            {
                sought = false;
            }
        }

        private bool SettleNext()
        {
            var found = false;
            for(var at = lastWord; at < Math.Min(FlashBytes, lastWord + 32) && !dead; at += 4)
            {
                var stored = flash.ReadDoubleWord(at);
                if(stored != BitConverter.ToUInt32(shadow, at))
                {
                    Program(at, BitConverter.GetBytes(stored));
                    lastWord = at;
                    found = true;
                }
            }
            return found;
        }

        private bool SettleAll()
        {
            var found = false;
            for(var block = 0; block < FlashBytes / BlockBytes && !dead; block++)
            {
                found |= SettleBlock(block);
            }
            return found;
        }

        private bool SettleBlock(int block)
        {
            var begin = block * BlockBytes;
            var now = flash.ReadBytes(begin, BlockBytes);
            var found = false;
            for(var at = 0; at < BlockBytes; at += 4)
            {
                if(now[at] == shadow[begin + at] && now[at + 1] == shadow[begin + at + 1]
                    && now[at + 2] == shadow[begin + at + 2] && now[at + 3] == shadow[begin + at + 3])
                {
                    continue;
                }
                found = true;
                lastWord = begin + at;
                Program(begin + at, new[] { now[at], now[at + 1], now[at + 2], now[at + 3] });
                if(dead)
                {
                    break;
                }
            }
            return found;
        }

        private void Program(int offset, byte[] wanted)
        {
            var control = this[(long)Registers.CR];
            var old = new byte[4];
            Array.Copy(shadow, offset, old, 0, 4);
            if((control & Pg) == 0 || (control & (Lock | Ser)) != 0)
            {
                Fail(PgsErr);
                Put(offset, old);
                return;
            }
            if((control >> 8 & 3) != 2)
            {
                Fail(PgpErr);
                Put(offset, old);
                return;
            }
            if(IsProtected(offset < 0x10000 ? offset / 0x4000 : (offset < 0x20000 ? 4 : offset / 0x20000 + 4)))
            {
                Fail(WrpErr);
                Put(offset, old);
                return;
            }
            Programs++;
            Operate(offset, 4, 16000);
            for(var at = 0; at < 4; at++)
            {
                if((wanted[at] & ~old[at]) != 0)
                {
                    RefusedBits++;
                }
                old[at] &= wanted[at];
            }
            Put(offset, old);
            CountCut();
        }

        private bool IsProtected(int sector)
        {
            return (options >> (16 + sector) & 1u) == 0;
        }

        private void Operate(int offset, int size, long takesNs)
        {
            underOffset = offset;
            under = new byte[size];
            Array.Copy(shadow ?? flash.ReadBytes(0, FlashBytes), offset, under, 0, size);
            Busy(takesNs);
            operations++;
        }

        private void Busy(long takesNs)
        {
            chain.NowNs(true);
            busy = true;
            busyTimer.Value = 0;
            busyTimer.Limit = (ulong)takesNs;
            busyTimer.Enabled = true;
        }

        private void CountCut()
        {
            if(operations == cutAfter)
            {
                Tear();
                dead = true;
                var handler = CutInOperation;
                if(handler != null)
                {
                    handler();
                }
            }
        }

        // Half done: bits that had not gone yet may stand either way.
        private void Tear()
        {
            unchecked
            {
                var random = new OpqRandom(seed * 0x100000001B3UL + 0xF1A5UL + operations);
                var how = random.Next() % 4;
                var reached = (int)(random.Next() % (ulong)(under.Length / 4 + 1)) * 4;
                var torn = (byte[])under.Clone();
                for(var at = 0; at < torn.Length; at++)
                {
                    var undecided = (byte)random.Next();
                    if(torn.Length <= 8)
                    {
                        torn[at] = (byte)(shadow[underOffset + at] | (under[at] & undecided));
                    }
                    else if(how == 0)
                    {
                        torn[at] = (byte)(under[at] | undecided);
                    }
                    else
                    {
                        torn[at] = at < reached ? (byte)(how == 2 ? 0x00 : 0xFF) : (how == 3 ? undecided : under[at]);
                    }
                }
                Put(underOffset, torn);
            }
        }

        private void Put(int offset, byte[] data)
        {
            flash.WriteBytes(offset, data, 0, data.Length);
            if(shadow != null)
            {
                Array.Copy(data, 0, shadow, offset, data.Length);
            }
        }

        private void Fail(uint flag)
        {
            Errors++;
            this[(long)Registers.SR] |= flag;
        }

        private const int FlashBytes = 0x100000;
        private const int BlockBytes = 0x4000;
        private const uint Bsy = 1u << 16, Pg = 1u, Ser = 2u, Strt = 1u << 16, Lock = 1u << 31;
        private const uint PgsErr = 1u << 7, PgpErr = 1u << 6, WrpErr = 1u << 4;
        private const uint OptStrt = 2u, OptionBits = 0x0FFFFFECu;

        // DS8626 table 46, typical: x8, x16, x32 times sectors of 16, 64, 128 KB.
        private static readonly int[][] EraseMs =
        {
            new[] { 400, 1200, 2000 }, new[] { 300, 700, 1300 }, new[] { 250, 550, 1000 }
        };

        private int keyStep;
        private int optionKeyStep;
        private bool shut;
        private bool optionShut;
        private bool dead;
        private int lastWord;
        private bool sought; // no store has been found since CR was written
        private long nextLookNs; // for stores without PG
        private int underOffset;
        private byte[] under;
        private byte[] shadow;
        private bool busy;
        private bool inOptions;
        private uint options = 0x0FFFAAECu; // the bytes themselves: of the factory (3.9.10)
        private readonly LimitTimer busyTimer;
        private ulong operations;
        private ulong cutAfter;
        private ulong seed;
        private readonly MappedMemory flash;

        private enum Registers : long
        {
            ACR = 0x00,
            KEYR = 0x04,
            OPTKEYR = 0x08,
            SR = 0x0C,
            CR = 0x10,
            OPTCR = 0x14
        }
    }
}
