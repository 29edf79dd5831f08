// As much of Renode as the models use, from reading its sources, and no more: enough to compile them and to run them
// without a CPU. Time is a clock that a test moves; memory is an array. None of this is Renode's code.
using System;
using System.Collections.Generic;

namespace Antmicro.Migrant
{
    public class TransientAttribute : Attribute
    {
    }
}

namespace Antmicro.Renode.Exceptions
{
    public class RecoverableException : Exception
    {
        public RecoverableException(string message) : base(message)
        {
        }
    }
}

namespace Antmicro.Renode.Utilities
{
    public class ReadFilePath
    {
        public static implicit operator string(ReadFilePath path)
        {
            return path.path;
        }

        public static implicit operator ReadFilePath(string path)
        {
            return new ReadFilePath { path = path };
        }

        private string path;
    }
}

namespace Antmicro.Renode.Logging
{
    using Antmicro.Renode.Core;
    using Antmicro.Renode.Peripherals;

    public class LogLevel
    {
        public static readonly LogLevel Noisy = new LogLevel("NOISY");
        public static readonly LogLevel Debug = new LogLevel("DEBUG");
        public static readonly LogLevel Info = new LogLevel("INFO");
        public static readonly LogLevel Warning = new LogLevel("WARNING");
        public static readonly LogLevel Error = new LogLevel("ERROR");

        private LogLevel(string name)
        {
            Name = name;
        }

        public string Name { get; private set; }
    }

    public static class Logger
    {
        public static void Log(this IEmulationElement element, LogLevel level, string message, params object[] arguments)
        {
            Console.WriteLine("log " + level.Name + " " + element.GetType().Name + ": " + String.Format(message, arguments));
        }
    }
}

namespace Antmicro.Renode.Time
{
    public struct TimeInterval
    {
        public TimeInterval(ulong ticks)
        {
            Ticks = ticks;
        }

        public readonly ulong Ticks;
    }

    public enum Direction
    {
        Ascending,
        Descending
    }

    public enum WorkMode
    {
        Periodic,
        OneShot
    }

    // Handlers of due timers run in order of their times; each may arm itself or others again.
    public class ClockSource
    {
        public TimeInterval CurrentValue
        {
            get { return new TimeInterval(now); }
        }

        public void RunFor(ulong ns)
        {
            var end = now + ns;
            while(true)
            {
                Peripherals.Timers.LimitTimer first = null;
                foreach(var timer in Timers)
                {
                    if(timer.Enabled && (first == null || timer.DueNs < first.DueNs))
                    {
                        first = timer;
                    }
                }
                if(first == null || first.DueNs > end)
                {
                    break;
                }
                now = first.DueNs;
                first.Reached();
            }
            now = end;
        }

        public readonly List<Peripherals.Timers.LimitTimer> Timers = new List<Peripherals.Timers.LimitTimer>();

        private ulong now;
    }

    public interface IClockSource
    {
    }
}

namespace Antmicro.Renode.Core
{
    using Antmicro.Renode.Peripherals;
    using Antmicro.Renode.Peripherals.Bus;
    using Antmicro.Renode.Time;

    public interface IEmulationElement
    {
    }

    public interface IGPIO
    {
        void Set(bool value);
        bool IsSet { get; }
    }

    public class GPIO : IGPIO
    {
        public void Set(bool value)
        {
            if(value != IsSet)
            {
                IsSet = value;
                if(Changed != null)
                {
                    Changed(value);
                }
            }
        }

        public bool IsSet { get; private set; }

        public event Action<bool> Changed;
    }

    public interface IGPIOReceiver : IPeripheral
    {
        void OnGPIO(int number, bool value);
    }

    public interface INumberedGPIOOutput : IPeripheral
    {
        IReadOnlyDictionary<int, IGPIO> Connections { get; }
    }

    public interface IMachine : IEmulationElement
    {
        ClockSource ClockSource { get; }
        IBusController GetSystemBus(IPeripheral peripheral);
        void RequestReset();
    }

    public class Machine : IMachine
    {
        public Machine()
        {
            ClockSource = new ClockSource();
            Bus = new BusController();
        }

        public IBusController GetSystemBus(IPeripheral peripheral)
        {
            return Bus;
        }

        public void RequestReset()
        {
            ResetsAsked++;
        }

        public ClockSource ClockSource { get; private set; }

        public BusController Bus { get; private set; }

        public int ResetsAsked { get; private set; }
    }
}

namespace Antmicro.Renode.Core.Structure.Registers
{
    public class DoubleWordRegisterCollection
    {
        public void Reset()
        {
        }
    }
}

namespace Antmicro.Renode.Peripherals
{
    using Antmicro.Renode.Core;

    public interface IPeripheral : IEmulationElement
    {
        void Reset();
    }
}

namespace Antmicro.Renode.Peripherals.CPU
{
    public interface ICPU : IPeripheral
    {
        void SyncTime();
    }
}

namespace Antmicro.Renode.Peripherals.Timers
{
    using Antmicro.Renode.Time;

    public class LimitTimer
    {
        public LimitTimer(ClockSource clockSource, ulong frequency, IPeripheral owner, string localName, ulong limit = UInt64.MaxValue,
            Direction direction = Direction.Descending, bool enabled = false, WorkMode workMode = WorkMode.Periodic,
            bool eventEnabled = false, bool autoUpdate = false, ulong divider = 1)
        {
            if(frequency != 1000000000 || direction != Direction.Ascending || !eventEnabled || divider != 1 || autoUpdate)
            {
                throw new ArgumentException("the stub knows ascending timers of 1 GHz with events on");
            }
            clock = clockSource;
            initialLimit = limit;
            this.limit = limit;
            clock.Timers.Add(this);
        }

        public void Reached()
        {
            start = clock.CurrentValue.Ticks; // periodic
            if(LimitReached != null)
            {
                LimitReached();
            }
        }

        public bool Enabled
        {
            get { return enabled; }
            set
            {
                if(value && !enabled)
                {
                    start = clock.CurrentValue.Ticks - held;
                }
                else if(!value && enabled)
                {
                    held = clock.CurrentValue.Ticks - start;
                }
                enabled = value;
            }
        }

        public ulong Value
        {
            get { return enabled ? clock.CurrentValue.Ticks - start : held; }
            set
            {
                if(value > initialLimit)
                {
                    throw new ArgumentException("value above the initial limit");
                }
                held = value;
                start = clock.CurrentValue.Ticks - value;
            }
        }

        public ulong Limit
        {
            get { return limit; }
            set
            {
                if(value == 0)
                {
                    throw new ArgumentException("limit 0");
                }
                limit = value;
            }
        }

        public ulong DueNs
        {
            get { return limit > UInt64.MaxValue - start ? UInt64.MaxValue : start + limit; }
        }

        public event Action LimitReached;

        private bool enabled;
        private ulong held;
        private ulong start;
        private ulong limit;
        private readonly ulong initialLimit;
        private readonly ClockSource clock;
    }
}

namespace Antmicro.Renode.Peripherals.UART
{
    public enum Bits
    {
        None,
        One,
        Half,
        OneAndAHalf,
        Two
    }

    public enum Parity
    {
        Odd,
        Even,
        None,
        Forced1,
        Forced0,
        Multidrop
    }

    public interface IUART : IPeripheral
    {
        event Action<byte> CharReceived;
        void WriteChar(byte value);
        uint BaudRate { get; }
        Bits StopBits { get; }
        Parity ParityBit { get; }
    }
}

namespace Antmicro.Renode.Peripherals.Memory
{
    public class MappedMemory : IPeripheral
    {
        public MappedMemory(int size)
        {
            cells = new byte[size];
        }

        public void Reset()
        {
        }

        public byte[] ReadBytes(long offset, int count, IPeripheral context = null)
        {
            var found = new byte[count];
            Array.Copy(cells, (int)offset, found, 0, count);
            return found;
        }

        public void WriteBytes(long offset, byte[] array, int startingIndex, int count, IPeripheral context = null)
        {
            Array.Copy(array, startingIndex, cells, (int)offset, count);
        }

        public readonly byte[] cells;
    }
}

namespace Antmicro.Renode.Peripherals.Bus
{
    using Antmicro.Renode.Core;
    using Antmicro.Renode.Core.Structure.Registers;
    using Antmicro.Renode.Peripherals.CPU;

    [Flags]
    public enum AllowedTranslation
    {
        ByteToDoubleWord = 1,
        WordToDoubleWord = 2
    }

    public class AllowedTranslationsAttribute : Attribute
    {
        public AllowedTranslationsAttribute(AllowedTranslation allowed)
        {
        }
    }

    public interface IKnownSize : IPeripheral
    {
        long Size { get; }
    }

    public interface IDoubleWordPeripheral : IPeripheral
    {
        uint ReadDoubleWord(long offset);
        void WriteDoubleWord(long offset, uint value);
    }

    public interface IBusController
    {
        byte ReadByte(ulong address, IPeripheral context = null);
        ushort ReadWord(ulong address, IPeripheral context = null);
        uint ReadDoubleWord(ulong address, IPeripheral context = null);
        void WriteByte(ulong address, byte value, IPeripheral context = null);
        void WriteWord(ulong address, ushort value, IPeripheral context = null);
        void WriteDoubleWord(ulong address, uint value, IPeripheral context = null);
        bool TryGetCurrentCPU(out ICPU cpu);
    }

    // SRAM and nothing else.
    public class BusController : IBusController
    {
        public byte ReadByte(ulong address, IPeripheral context = null)
        {
            return Sram[address - 0x20000000];
        }

        public ushort ReadWord(ulong address, IPeripheral context = null)
        {
            return BitConverter.ToUInt16(Sram, (int)(address - 0x20000000));
        }

        public uint ReadDoubleWord(ulong address, IPeripheral context = null)
        {
            return BitConverter.ToUInt32(Sram, (int)(address - 0x20000000));
        }

        public void WriteByte(ulong address, byte value, IPeripheral context = null)
        {
            Sram[address - 0x20000000] = value;
        }

        public void WriteWord(ulong address, ushort value, IPeripheral context = null)
        {
            BitConverter.GetBytes(value).CopyTo(Sram, (int)(address - 0x20000000));
        }

        public void WriteDoubleWord(ulong address, uint value, IPeripheral context = null)
        {
            BitConverter.GetBytes(value).CopyTo(Sram, (int)(address - 0x20000000));
        }

        public bool TryGetCurrentCPU(out ICPU cpu)
        {
            cpu = null;
            return false;
        }

        public readonly byte[] Sram = new byte[0x20000];
    }

    public abstract class BasicDoubleWordPeripheral : IDoubleWordPeripheral
    {
        protected BasicDoubleWordPeripheral(IMachine machine)
        {
            this.machine = machine;
            sysbus = machine.GetSystemBus(this);
            RegistersCollection = new DoubleWordRegisterCollection();
        }

        public virtual void Reset()
        {
            RegistersCollection.Reset();
        }

        public virtual uint ReadDoubleWord(long offset)
        {
            return 0;
        }

        public virtual void WriteDoubleWord(long offset, uint value)
        {
        }

        protected readonly IMachine machine;
        protected readonly IBusController sysbus;
        protected readonly DoubleWordRegisterCollection RegistersCollection;
    }
}
