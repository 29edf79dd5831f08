// IWDG (RM0090 21): times out after (RLR + 1) * 4 * 2^PR periods of LSI (32 kHz here, 17 to 47 on silicon), says so
// to RCC, and resets the machine. It goes on while the CPU is halted.
using System;
using System.Collections.Generic;
using Antmicro.Renode.Core;
using Antmicro.Renode.Logging;
using Antmicro.Renode.Peripherals.Bus;
using Antmicro.Renode.Peripherals.Timers;
using Antmicro.Renode.Time;

namespace Antmicro.Renode.Peripherals.Opq
{
    [AllowedTranslations(AllowedTranslation.ByteToDoubleWord | AllowedTranslation.WordToDoubleWord)]
    public class Iwdg : OpqBlock
    {
        public Iwdg(IMachine machine, Chain chain, Rcc rcc) : base(machine, chain, 0x400)
        {
            this.rcc = rcc;
            timer = new LimitTimer(machine.ClockSource, 1000000000, this, "watchdog", UInt64.MaxValue,
                direction: Direction.Ascending, eventEnabled: true);
            timer.LimitReached += Expired;
            // Firmware that waits for flash reloads millions of times a second: within a grain the last one counts, at its end.
            grain = new LimitTimer(machine.ClockSource, 1000000000, this, "watchdog grain", GrainNs,
                direction: Direction.Ascending, eventEnabled: true, workMode: WorkMode.OneShot);
            grain.LimitReached += delegate
            {
                settled = true;
                if(owed)
                {
                    Reload();
                }
            };
            Define((long)Registers.KR, 0x0, 0x00000000);
            Define((long)Registers.PR, 0x0, 0x00000000);
            Define((long)Registers.RLR, 0xFFF, 0x00000000);
            Define((long)Registers.SR, 0x0, 0x00000000);
            Reset();
        }

        public ulong Reloads { get; private set; }

        public ulong Resets { get; private set; }

        public override IEnumerable<KeyValuePair<string, ulong>> Counters
        {
            get
            {
                yield return Counter("resets", Resets);
                yield return Counter("reloads", Reloads);
            }
        }

        protected override bool OnChain
        {
            get { return false; }
        }

        protected override void OnReset()
        {
            timer.Enabled = false;
            grain.Enabled = false;
            settled = true;
            open = running = owed = false;
        }

        protected override void OnWrite(long offset, uint before, uint value)
        {
            switch((Registers)offset)
            {
            case Registers.KR:
                open = (value & 0xFFFF) == 0x5555;
                if((value & 0xFFFF) == 0xCCCC)
                {
                    running = true;
                    Reload();
                }
                else if((value & 0xFFFF) == 0xAAAA && running)
                {
                    Reloads++;
                    Reload();
                }
                break;
            case Registers.PR:
            case Registers.RLR:
                if(!open)
                {
                    Violation("IWDG_PR or IWDG_RLR written while closed");
                }
                else
                {
                    this[offset] = value & ((Registers)offset == Registers.PR ? 0x7u : 0xFFFu);
                }
                break;
            }
        }

        private void Reload()
        {
            if(!settled && timer.Enabled)
            {
                owed = true;
                return;
            }
            owed = settled = false;
            grain.Value = 0;
            grain.Enabled = true;
            var periods = ((ulong)this[(long)Registers.RLR] + 1) << (2 + (int)Math.Min(this[(long)Registers.PR], 6u));
            timer.Value = 0;
            var limit = periods * 1000000000UL / LsiHz;
            if(!timer.Enabled || timer.Limit != limit)
            {
                timer.Limit = limit;
                timer.Enabled = true;
            }
        }

        private void Expired()
        {
            timer.Enabled = false;
            Resets++;
            this.Log(LogLevel.Warning, "Watchdog reset triggered!");
            rcc.ResetBecauseOf(29);
            machine.RequestReset();
        }

        private const ulong LsiHz = 32000;
        private const ulong GrainNs = 100000;

        private bool open;
        private bool running;
        private bool settled = true;
        private bool owed;
        private readonly LimitTimer grain;
        private readonly Rcc rcc;
        private readonly LimitTimer timer;

        private enum Registers : long
        {
            KR = 0x00,
            PR = 0x04,
            RLR = 0x08,
            SR = 0x0C
        }
    }
}
