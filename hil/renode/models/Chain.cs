// What hangs together without the CPU: timers, converters, DMA, in order of ticks. It runs when firmware looks
// at a register, and at the next moment at which it would interrupt; between those nobody could tell.
using System;
using System.Collections.Generic;
using Antmicro.Renode.Core;
using Antmicro.Renode.Peripherals;
using Antmicro.Renode.Peripherals.CPU;
using Antmicro.Renode.Peripherals.Timers;
using Antmicro.Renode.Time;

namespace Antmicro.Renode.Peripherals.Opq
{
    // Something that has a next event of its own, in ticks.
    public interface IOpqStage
    {
        long NextTick { get; }
        // At equal ticks the lower one first: a conversion ends before the timer starts the next.
        int Order { get; }
        // First tick at which an interrupt may come of it, never later than the truth.
        long InterruptTick { get; }
        void Fire();
    }

    // What converts at a timer's event.
    public interface IOpqTriggered
    {
        void OnTrgo(int timer, long tick);
        void OnOutput(int timer, int channel, bool rising, long tick);
    }

    // What moves at a timer's compare request.
    public interface IOpqCompareDma
    {
        void OnCompare(int timer, int channel, long tick);
    }

    public class Chain : IPeripheral
    {
        public Chain(IMachine machine)
        {
            this.machine = machine;
            timer = new LimitTimer(machine.ClockSource, 1000000000, this, "opq chain", UInt64.MaxValue,
                direction: Direction.Ascending, eventEnabled: true);
            timer.LimitReached += Due;
        }

        // Virtual time does not restart with the machine, and neither does what is counted here.
        public void Reset()
        {
        }

        // Exact now. In a register access the CPU first reports how far it is; elsewhere the clock source knows.
        public long NowNs(bool inAccess)
        {
            ICPU cpu;
            if(inAccess && machine.SystemBus.TryGetCurrentCPU(out cpu))
            {
                cpu.SyncTime();
            }
            return (long)machine.ClockSource.CurrentValue.Ticks;
        }

        // Everything up to now has happened.
        public void Sync(bool inAccess)
        {
            if(running)
            {
                return;
            }
            NowTick = OpqTime.TickOfNs(NowNs(inAccess));
            Run(NowTick);
        }

        // What comes from outside at `tick` meets everything inside as it was just then.
        public void RunTo(long tick)
        {
            if(!running)
            {
                NowTick = Math.Max(NowTick, tick);
                Run(tick);
            }
        }

        public void Rearm()
        {
            if(running)
            {
                return;
            }
            var next = OpqTime.Never;
            foreach(var stage in stages)
            {
                next = Math.Min(next, stage.InterruptTick);
            }
            if(next == armed)
            {
                return;
            }
            armed = next;
            timer.Enabled = false;
            if(next != OpqTime.Never)
            {
                var delay = OpqTime.NsOfTick(next) - NowNs(false);
                timer.Value = 0;
                timer.Limit = (ulong)Math.Max(1, delay);
                timer.Enabled = true;
            }
        }

        public void Add(IOpqStage stage)
        {
            stages.Add(stage);
        }

        public void AddTriggered(IOpqTriggered triggered)
        {
            triggereds.Add(triggered);
        }

        public void AddCompareDma(IOpqCompareDma dma)
        {
            compareDmas.Add(dma);
        }

        public void Trgo(int index, long tick)
        {
            foreach(var triggered in triggereds)
            {
                triggered.OnTrgo(index, tick);
            }
        }

        public void Output(int index, int channel, bool rising, long tick)
        {
            foreach(var triggered in triggereds)
            {
                triggered.OnOutput(index, channel, rising, tick);
            }
        }

        public void Compare(int index, int channel, long tick)
        {
            foreach(var dma in compareDmas)
            {
                dma.OnCompare(index, channel, tick);
            }
        }

        // Tick up to which everything has happened; within an event, the tick of the whole run.
        public long NowTick { get; private set; }

        private void Due()
        {
            armed = OpqTime.Never;
            timer.Enabled = false;
            Sync(false);
            Rearm();
        }

        private void Run(long upTo)
        {
            running = true;
            while(true)
            {
                IOpqStage first = null;
                var tick = OpqTime.Never;
                foreach(var stage in stages)
                {
                    var its = stage.NextTick;
                    if(its < tick || (its == tick && first != null && stage.Order < first.Order))
                    {
                        tick = its;
                        first = stage;
                    }
                }
                if(first == null || tick > upTo)
                {
                    break;
                }
                first.Fire();
            }
            running = false;
        }

        private bool running;
        private long armed = OpqTime.Never;
        private readonly IMachine machine;
        private readonly LimitTimer timer;
        private readonly List<IOpqStage> stages = new List<IOpqStage>();
        private readonly List<IOpqTriggered> triggereds = new List<IOpqTriggered>();
        private readonly List<IOpqCompareDma> compareDmas = new List<IOpqCompareDma>();
    }
}
