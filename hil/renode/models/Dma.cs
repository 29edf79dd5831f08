// DMA1 and DMA2 in direct mode (RM0090 10): peripheral to memory for the converters, memory to SPI2 at a timer's
// compare request. Not here: FIFO mode, memory to memory, bursts (a violation when asked for).
using System;
using System.Collections.Generic;
using Antmicro.Renode.Core;
using Antmicro.Renode.Peripherals.Bus;

namespace Antmicro.Renode.Peripherals.Opq
{
    [AllowedTranslations(AllowedTranslation.ByteToDoubleWord | AllowedTranslation.WordToDoubleWord)]
    public class Dma : OpqBlock, INumberedGPIOOutput
    {
        public Dma(IMachine machine, Chain chain) : base(machine, chain, 0x400)
        {
            var lines = new Dictionary<int, IGPIO>();
            for(var n = 0; n < Streams; n++)
            {
                lines[n] = new GPIO();
            }
            Connections = lines;
            Define((long)Registers.LISR, 0x0, 0x00000000);
            Define((long)Registers.HISR, 0x0, 0x00000000);
            Define((long)Registers.LIFCR, 0x0, 0x00000000);
            Define((long)Registers.HIFCR, 0x0, 0x00000000);
            for(var n = 0; n < Streams; n++)
            {
                Define((long)Registers.S0CR + n * StreamBytes, 0x0, 0x00000000);
                Define((long)Registers.S0NDTR + n * StreamBytes, 0x0, 0x00000000);
                Define((long)Registers.S0PAR + n * StreamBytes, 0x0, 0x00000000);
                Define((long)Registers.S0M0AR + n * StreamBytes, 0x0, 0x00000000);
                Define((long)Registers.S0M1AR + n * StreamBytes, 0x0, 0x00000000);
                Define((long)Registers.S0FCR + n * StreamBytes, 0x21, 0x00000000);
            }
            Reset();
        }

        // A peripheral offers `value` of its data register at `dr` to the stream that listens; whether it took it.
        public bool Take(uint streams, uint channel, uint dr, uint value)
        {
            var n = Find(streams, channel, 0);
            if(n < 0)
            {
                return false;
            }
            if(Stream(n, Registers.S0PAR) != dr)
            {
                Violation("DMA_SxPAR is not the data register of the peripheral that asks");
                return false;
            }
            var size = SizeOf(n);
            var address = MemoryAddress(n, size);
            if(!InSram(address, size))
            {
                Failed(n);
                return false;
            }
            if(size == 4)
            {
                sysbus.WriteDoubleWord(address, value);
            }
            else if(size == 2)
            {
                sysbus.WriteWord(address, (ushort)value);
            }
            else
            {
                sysbus.WriteByte(address, (byte)value);
            }
            Advance(n);
            return true;
        }

        // A request that moves memory into the register in PAR; null when nobody listens.
        public uint? Give(uint streams, uint channel, uint dr)
        {
            var n = Find(streams, channel, 1);
            if(n < 0)
            {
                return null;
            }
            if(Stream(n, Registers.S0PAR) != dr)
            {
                Violation("DMA from memory into a register other than SPI2_DR is not modelled");
                return null;
            }
            var size = SizeOf(n);
            var address = MemoryAddress(n, size);
            if(!InSram(address, size) && !(address >= 0x08000000 && address + size <= 0x08100000))
            {
                Failed(n);
                return null;
            }
            var value = size == 4 ? sysbus.ReadDoubleWord(address)
                : (size == 2 ? (uint)sysbus.ReadWord(address) : (uint)sysbus.ReadByte(address));
            Advance(n);
            return value;
        }

        // How many items until HTIF or TCIF interrupts, for the stream that listens; 0: never.
        public long ItemsToInterrupt(uint streams, uint channel)
        {
            var n = Find(streams, channel, 0);
            if(n < 0)
            {
                return 0;
            }
            var cr = Stream(n, Registers.S0CR);
            var half = reload[n] / 2;
            if((cr & Htie) != 0 && item[n] < half)
            {
                return half - item[n];
            }
            if((cr & Tcie) != 0)
            {
                return Stream(n, Registers.S0NDTR);
            }
            return (cr & Htie) != 0 ? Stream(n, Registers.S0NDTR) + half : 0;
        }

        public IReadOnlyDictionary<int, IGPIO> Connections { get; private set; }

        public ulong Transfers { get; private set; }

        // Half or whole buffers whose flag was still set when the next came: the firmware was too late.
        public ulong UnservicedHalf { get; private set; }

        public override IEnumerable<KeyValuePair<string, ulong>> Counters
        {
            get
            {
                yield return Counter("transfers", Transfers);
                yield return Counter("unserviced", UnservicedHalf);
            }
        }

        protected override void OnReset()
        {
            Array.Clear(reload, 0, Streams);
            Array.Clear(item, 0, Streams);
            Array.Clear(flags, 0, Streams);
            for(var n = 0; n < Streams; n++)
            {
                UpdateIrq(n);
            }
        }

        protected override uint OnRead(long offset, uint stored)
        {
            if(offset > (long)Registers.HISR)
            {
                return stored;
            }
            var status = 0u;
            for(var n = 0; n < 4; n++)
            {
                status |= flags[n + (offset == (long)Registers.HISR ? 4 : 0)] << Shift[n];
            }
            return status;
        }

        protected override void OnWrite(long offset, uint before, uint value)
        {
            if(offset <= (long)Registers.HISR)
            {
                return; // read-only
            }
            if(offset <= (long)Registers.HIFCR)
            {
                for(var n = 0; n < 4; n++)
                {
                    var cleared = n + (offset == (long)Registers.HIFCR ? 4 : 0);
                    flags[cleared] &= ~(value >> Shift[n] & 0x3D);
                    UpdateIrq(cleared);
                }
                return;
            }
            WrittenStream((int)((offset - 0x10) / StreamBytes), offset, value);
        }

        private void WrittenStream(int n, long offset, uint value)
        {
            var enabled = (Stream(n, Registers.S0CR) & En) != 0;
            var kind = (Registers)((offset - 0x10) % StreamBytes + 0x10);
            if(kind == Registers.S0CR)
            {
                WrittenCr(n, value, enabled);
            }
            else if(kind == Registers.S0FCR)
            {
                this[offset] = (this[offset] & ~(enabled ? 0x80u : 0x87u)) | (value & (enabled ? 0x80u : 0x87u));
            }
            else if(enabled)
            {
                Violation("DMA stream's registers written while it is enabled");
            }
            else
            {
                this[offset] = kind == Registers.S0NDTR ? value & 0xFFFF : value;
            }
            UpdateIrq(n);
        }

        private void WrittenCr(int n, uint value, bool was)
        {
            var offset = (long)Registers.S0CR + n * StreamBytes;
            var mask = was ? 0x1Fu : 0x0FEFFFFFu; // 10.5.5: the rest is protected while EN is set
            this[offset] = (this[offset] & ~mask) | (value & mask);
            var now = (this[offset] & En) != 0;
            if(!was && now)
            {
                if(flags[n] != 0)
                {
                    Violation("DMA stream enabled with event flags still set (RM0090 10.3.17)");
                }
                if((Stream(n, Registers.S0FCR) & 4) != 0 || (value & 0x40000) != 0)
                {
                    Violation("DMA: FIFO mode and double buffers are not modelled (direct mode is)");
                }
                if(Stream(n, Registers.S0NDTR) == 0 || (value >> 6 & 3) == 2)
                {
                    Violation("DMA stream enabled with NDTR 0, or from memory to memory (not modelled)");
                    this[offset] &= ~En;
                }
                reload[n] = Stream(n, Registers.S0NDTR);
                item[n] = 0;
            }
            else if(was && !now)
            {
                flags[n] |= Tcif; // 10.3.14: a stream that is stopped says so
            }
        }

        private int Find(uint streams, uint channel, uint direction)
        {
            for(var n = 0; n < Streams; n++)
            {
                var cr = Stream(n, Registers.S0CR);
                if((streams >> n & 1) != 0 && (cr & En) != 0 && (cr >> 25 & 7) == channel
                    && (cr >> 6 & 3) == direction)
                {
                    return n;
                }
            }
            return -1;
        }

        private void Advance(int n)
        {
            Transfers++;
            item[n]++;
            var left = Stream(n, Registers.S0NDTR) - 1;
            if(item[n] == reload[n] / 2)
            {
                Raise(n, Htif);
            }
            if(left == 0)
            {
                Raise(n, Tcif);
                item[n] = 0;
                if((Stream(n, Registers.S0CR) & Circ) != 0)
                {
                    left = reload[n];
                }
                else
                {
                    this[(long)Registers.S0CR + n * StreamBytes] &= ~En;
                }
            }
            this[(long)Registers.S0NDTR + n * StreamBytes] = left;
            UpdateIrq(n);
        }

        private void Raise(int n, uint flag)
        {
            var wanted = flag == Htif ? Htie : Tcie;
            if((flags[n] & flag) != 0 && (Stream(n, Registers.S0CR) & wanted) != 0)
            {
                UnservicedHalf++;
            }
            flags[n] |= flag;
        }

        private void Failed(int n)
        {
            Violation("DMA to or from an address that it does not reach (CCM is the core's own)");
            this[(long)Registers.S0CR + n * StreamBytes] &= ~En;
            flags[n] |= Teif;
            UpdateIrq(n);
        }

        // A wake-up that is a SysTick (1 ms) late loses nothing: a full half stays as it is until DMA is through with the
        // other one, 3.33 ms, and the firmware takes it up to three quarters of that.
        private void UpdateIrq(int n)
        {
            var cr = Stream(n, Registers.S0CR);
            var wanted = ((cr & Teie) != 0 ? Teif : 0) | ((cr & Htie) != 0 ? Htif : 0) | ((cr & Tcie) != 0 ? Tcif : 0);
            Connections[n].Set((flags[n] & wanted) != 0);
        }

        private uint Stream(int n, Registers register)
        {
            return this[(long)register + n * StreamBytes];
        }

        private uint SizeOf(int n)
        {
            return 1u << (int)(Stream(n, Registers.S0CR) >> 11 & 3); // 10.3.10: direct mode, PSIZE for both sides
        }

        private ulong MemoryAddress(int n, uint size)
        {
            var steps = (Stream(n, Registers.S0CR) & Minc) != 0 ? item[n] * size : 0;
            return (ulong)Stream(n, Registers.S0M0AR) + steps;
        }

        private static bool InSram(ulong address, uint size)
        {
            return address >= 0x20000000 && address + size <= 0x20020000; // RM0090 2.3.1: not CCM
        }

        private const int Streams = 8;
        private const int StreamBytes = 0x18;
        private const uint En = 1u, Teie = 4u, Htie = 8u, Tcie = 16u, Circ = 0x100u, Minc = 0x400u;
        private const uint Teif = 8u, Htif = 16u, Tcif = 32u;

        private readonly uint[] reload = new uint[Streams];
        private readonly uint[] item = new uint[Streams];
        private readonly uint[] flags = new uint[Streams];

        private static readonly int[] Shift = { 0, 6, 16, 22 }; // 10.5.1

        private enum Registers : long
        {
            LISR = 0x00,
            HISR = 0x04,
            LIFCR = 0x08,
            HIFCR = 0x0C,
            S0CR = 0x10, // and each 0x18 further on for stream 1 to 7
            S0NDTR = 0x14,
            S0PAR = 0x18,
            S0M0AR = 0x1C,
            S0M1AR = 0x20,
            S0FCR = 0x24
        }
    }
}
