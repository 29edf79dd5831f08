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

namespace Antmicro.Renode.Logging
{
    using Antmicro.Renode.Core;
    using Antmicro.Renode.Peripherals;

    public sealed class LogLevel
    {
        public static LogLevel Noisy = new LogLevel("NOISY");
        public static LogLevel Debug = new LogLevel("DEBUG");
        public static LogLevel Info = new LogLevel("INFO");
        public static LogLevel Warning = new LogLevel("WARNING");
        public static LogLevel Error = new LogLevel("ERROR");

        private LogLevel(string name)
        {
            Name = name;
        }

        public string Name { get; private set; }
    }

    public static class Logger
    {
        public static void Log(this IEmulationElement e, LogLevel type, string message, params object[] args)
        {
            Console.WriteLine("log " + type.Name + " " + e.GetType().Name + ": " + String.Format(message, args));
        }

        public static void Log(this IEmulationElement e, LogLevel type, string message)
        {
            Log(e, type, message, new object[0]);
        }

        public static void Log(this IEmulationElement e, LogLevel type, string message, object arg1)
        {
            Log(e, type, message, new[] { arg1 });
        }

        public static void Log(this IEmulationElement e, LogLevel type, string message, object arg1, object arg2)
        {
            Log(e, type, message, new[] { arg1, arg2 });
        }

        public static void Log(this IEmulationElement e, LogLevel type, string message, object arg1, object arg2, object arg3)
        {
            Log(e, type, message, new[] { arg1, arg2, arg3 });
        }
    }
}

namespace Antmicro.Renode.Time
{
    public struct TimeInterval
    {
        private TimeInterval(ulong ticks)
        {
            this.ticks = ticks;
        }

        public static TimeInterval FromNanoseconds(ulong v)
        {
            return new TimeInterval(v);
        }

        public ulong Ticks
        {
            get { return ticks; }
        }

        private readonly ulong ticks;
    }

    public enum Direction
    {
        Ascending,
        Descending
    }

    public enum WorkMode
    {
        Periodic = 1,
        OneShot = 0
    }

    public interface IClockSource
    {
        TimeInterval CurrentValue { get; }
    }

    // Handlers of due timers run in order of their times; each may arm itself or others again.
    public class ClockSource : IClockSource
    {
        public TimeInterval CurrentValue
        {
            get { return TimeInterval.FromNanoseconds(now); }
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
                if(AfterLimit != null)
                {
                    AfterLimit();
                }
            }
            now = end;
        }

        public event Action AfterLimit;

        public readonly List<Peripherals.Timers.LimitTimer> Timers = new List<Peripherals.Timers.LimitTimer>();

        private ulong now;
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

    public sealed class GPIO : IGPIO
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
        IClockSource ClockSource { get; }
        IBusController SystemBus { get; }
        IBusController GetSystemBus(IBusPeripheral peripheral);
        void RequestReset();
    }

    public class Machine : IMachine
    {
        public Machine()
        {
            Clock = new ClockSource();
            Bus = new BusController();
        }

        public IBusController GetSystemBus(IBusPeripheral peripheral)
        {
            return Bus;
        }

        public IBusController SystemBus
        {
            get { return Bus; }
        }

        public IClockSource ClockSource
        {
            get { return Clock; }
        }

        public void RequestReset()
        {
            ResetsAsked++;
        }

        public ClockSource Clock { get; private set; }

        public BusController Bus { get; private set; }

        public int ResetsAsked { get; private set; }
    }
}

namespace Antmicro.Renode.Core.Structure.Registers
{
    public sealed class DoubleWordRegisterCollection
    {
        public DoubleWordRegisterCollection(Antmicro.Renode.Peripherals.IPeripheral parent)
        {
        }

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

    public class LimitTimer : IPeripheral
    {
        public LimitTimer(IClockSource clockSource, ulong frequency, IPeripheral owner, string localName, ulong limit = UInt64.MaxValue,
            Direction direction = Direction.Descending, bool enabled = false, WorkMode workMode = WorkMode.Periodic,
            bool eventEnabled = false, bool autoUpdate = false, ulong divider = 1)
        {
            if(frequency != 1000000000 || direction != Direction.Ascending || !eventEnabled || divider != 1 || autoUpdate)
            {
                throw new ArgumentException("the stub knows ascending timers of 1 GHz with events on");
            }
            clock = (ClockSource)clockSource;
            this.workMode = workMode;
            initialLimit = limit;
            this.limit = limit;
            clock.Timers.Add(this);
        }

        public void Reset()
        {
            limit = initialLimit;
            enabled = false;
            held = 0;
        }

        public void Reached()
        {
            start = clock.CurrentValue.Ticks;
            if(workMode == WorkMode.OneShot)
            {
                enabled = false;
                held = 0;
            }
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
        private readonly WorkMode workMode;
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
        Multidrop,
        Unsupported
    }

    public interface IUART<T> : IPeripheral
    {
        event Action<T> CharReceived;
        void WriteChar(T value);
        uint BaudRate { get; }
        Bits StopBits { get; }
        Parity ParityBit { get; }
    }

    public interface IUART : IUART<byte>
    {
    }
}

namespace Antmicro.Renode.Peripherals.Memory
{
    using Antmicro.Renode.Core;
    using Antmicro.Renode.Peripherals.Bus;

    public sealed class MappedMemory : IDoubleWordPeripheral, IKnownSize
    {
        public MappedMemory(IMachine machine, long size, int? segmentSize = null, string sharedMemoryFileRoot = null)
        {
            cells = new byte[size];
        }

        public long Size
        {
            get { return cells.Length; }
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

        public uint ReadDoubleWord(long offset)
        {
            return BitConverter.ToUInt32(cells, (int)offset);
        }

        public void WriteDoubleWord(long offset, uint value)
        {
            BitConverter.GetBytes(value).CopyTo(cells, (int)offset);
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
        ByteToDoubleWord = 1 << 1,
        WordToDoubleWord = 1 << 4
    }

    public class AllowedTranslationsAttribute : Attribute
    {
        public AllowedTranslationsAttribute(AllowedTranslation allowedTranslations)
        {
        }
    }

    public interface IBusPeripheral : IPeripheral
    {
    }

    public interface IKnownSize : IBusPeripheral
    {
        long Size { get; }
    }

    public interface IDoubleWordPeripheral : IBusPeripheral
    {
        uint ReadDoubleWord(long offset);
        void WriteDoubleWord(long offset, uint value);
    }

    public interface IBusController
    {
        byte ReadByte(ulong address, IPeripheral context = null, ulong? cpuState = null);
        ushort ReadWord(ulong address, IPeripheral context = null, ulong? cpuState = null);
        uint ReadDoubleWord(ulong address, IPeripheral context = null, ulong? cpuState = null);
        void WriteByte(ulong address, byte value, IPeripheral context = null, ulong? cpuState = null);
        void WriteWord(ulong address, ushort value, IPeripheral context = null, ulong? cpuState = null);
        void WriteDoubleWord(ulong address, uint value, IPeripheral context = null, ulong? cpuState = null);
        bool TryGetCurrentCPU(out ICPU cpu);
    }

    // SRAM and nothing else.
    public class BusController : IBusController
    {
        public byte ReadByte(ulong address, IPeripheral context = null, ulong? cpuState = null)
        {
            return Sram[address - 0x20000000];
        }

        public ushort ReadWord(ulong address, IPeripheral context = null, ulong? cpuState = null)
        {
            return BitConverter.ToUInt16(Sram, (int)(address - 0x20000000));
        }

        public uint ReadDoubleWord(ulong address, IPeripheral context = null, ulong? cpuState = null)
        {
            return BitConverter.ToUInt32(Sram, (int)(address - 0x20000000));
        }

        public void WriteByte(ulong address, byte value, IPeripheral context = null, ulong? cpuState = null)
        {
            Sram[address - 0x20000000] = value;
        }

        public void WriteWord(ulong address, ushort value, IPeripheral context = null, ulong? cpuState = null)
        {
            BitConverter.GetBytes(value).CopyTo(Sram, (int)(address - 0x20000000));
        }

        public void WriteDoubleWord(ulong address, uint value, IPeripheral context = null, ulong? cpuState = null)
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
}

namespace Antmicro.Renode.Peripherals
{
    using Antmicro.Renode.Core;
    using Antmicro.Renode.Core.Structure.Registers;
    using Antmicro.Renode.Peripherals.Bus;

    public abstract class BasicDoubleWordPeripheral : IDoubleWordPeripheral
    {
        public BasicDoubleWordPeripheral(IMachine machine)
        {
            this.machine = machine;
            sysbus = machine.GetSystemBus(this);
            RegistersCollection = new DoubleWordRegisterCollection(this);
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

        public DoubleWordRegisterCollection RegistersCollection { get; private set; }

        protected readonly IMachine machine;
        protected readonly IBusController sysbus;
    }
}
