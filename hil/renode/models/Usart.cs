// USART1 and USART2 (RM0090 30): 8N1 at the baud rate in BRR, both ways in time. Bytes into the Box come from the
// world file at their times or from whatever is connected (live), never faster than the line.
// Not here: parity, 9 bits, break, mute, flow control, DMA (a violation when asked for).
using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Text;
using Antmicro.Migrant;
using Antmicro.Renode.Core;
using Antmicro.Renode.Peripherals.Bus;
using Antmicro.Renode.Peripherals.Timers;
using Antmicro.Renode.Peripherals.UART;
using Antmicro.Renode.Time;

namespace Antmicro.Renode.Peripherals.Opq
{
    [AllowedTranslations(AllowedTranslation.ByteToDoubleWord | AllowedTranslation.WordToDoubleWord)]
    public class Usart : OpqBlock, IUART
    {
        // frequency: of its bus clock, 84 MHz for USART1 and 42 MHz for USART2.
        public Usart(IMachine machine, Chain chain, ulong frequency, bool logged = false) : base(machine, chain, 0x400)
        {
            this.frequency = frequency;
            this.logged = logged;
            IRQ = new GPIO();
            transmitter = NewTimer(machine, "transmit");
            transmitter.LimitReached += Transmitted;
            receiver = NewTimer(machine, "receive");
            receiver.LimitReached += Received;
            wakeUp = new WakeUp(machine, this);
            Define((long)Registers.SR, 0xC0, 0x00000000);
            Define((long)Registers.DR, 0x0, 0x00000000);
            Define((long)Registers.BRR, 0x0, 0x0000FFFF);
            Define((long)Registers.CR1, 0x0, 0x0000BFFF);
            Define((long)Registers.CR2, 0x0, 0x00007F6F);
            Define((long)Registers.CR3, 0x0, 0x00000FFF);
            Define((long)Registers.GTPR, 0x0, 0x0000FFFF);
            Reset();
        }

        // From whatever is connected: waits for its turn on the line.
        public void WriteChar(byte value)
        {
            incoming.Enqueue(value);
            PlanReception();
        }

        // From the world file; times must not fall within one USART.
        public void Script(long ns, byte value)
        {
            script.Enqueue(new KeyValuePair<long, byte>(ns, value));
        }

        // Once the whole script is there.
        public void Begin()
        {
            PlanReception();
        }

        public void SetNoise(bool intoBox, uint perBillion, ulong seed)
        {
            if(intoBox)
            {
                noiseIn = perBillion;
                randomIn = new OpqRandom(seed);
            }
            else
            {
                noiseOut = perBillion;
                randomOut = new OpqRandom(seed);
            }
        }

        // Power is gone: nothing leaves any more.
        public void Silence()
        {
            silent = true;
        }

        // Lines `ns hex`: what left the Box, with the time at which the last byte of the line had left.
        public void WriteLog(string path)
        {
            EndLine();
            File.WriteAllText(path, log.ToString());
        }

        public GPIO IRQ { get; private set; }

        public ulong TxBytes { get; private set; }

        public ulong RxBytes { get; private set; }

        public ulong Overruns { get; private set; }

        public ulong NoisedBytes { get; private set; }

        // Bytes that came while the receiver was off.
        public ulong LostOff { get; private set; }

        public uint BaudRate
        {
            get { return Divider == 0 ? 0 : (uint)(frequency / Divider); }
        }

        public Bits StopBits
        {
            get { return Bits.One; }
        }

        public Parity ParityBit
        {
            get { return Parity.None; }
        }

        [field: Transient]
        public event Action<byte> CharReceived;

        public override IEnumerable<KeyValuePair<string, ulong>> Counters
        {
            get
            {
                yield return Counter("tx_bytes", TxBytes);
                yield return Counter("rx_bytes", RxBytes);
                yield return Counter("overruns", Overruns);
                yield return Counter("noised", NoisedBytes);
                yield return Counter("lost", LostOff);
            }
        }

        protected override void OnReset()
        {
            transmitter.Enabled = false;
            full = shifting = statusRead = false;
            UpdateIrq();
        }

        protected override uint OnRead(long offset, uint stored)
        {
            switch((Registers)offset)
            {
            case Registers.SR:
                statusRead = true;
                return stored;
            case Registers.DR:
                this[(long)Registers.SR] &= ~Rxne;
                if(statusRead)
                {
                    this[(long)Registers.SR] &= ~(Ore | Idle | 0x7u); // 30.6.1: SR, then DR
                    statusRead = false;
                }
                UpdateIrq();
                return stored;
            default:
                return stored;
            }
        }

        protected override void OnWrite(long offset, uint before, uint value)
        {
            switch((Registers)offset)
            {
            case Registers.SR:
                this[offset] = before & (value | ~(Tc | Rxne)); // rc_w0
                break;
            case Registers.DR:
                WrittenData((byte)value);
                break;
            case Registers.CR1:
            case Registers.CR2:
            case Registers.CR3:
                if((this[(long)Registers.CR1] & 0x1C01) != 0 || (this[(long)Registers.CR2] & 0x3000) != 0
                    || (this[(long)Registers.CR3] & 0x03FE) != 0)
                {
                    Violation("USART: only 8N1 without DMA and flow control is modelled");
                }
                break;
            }
            UpdateIrq();
        }

        private void WrittenData(byte value)
        {
            if((this[(long)Registers.CR1] & (Ue | Te)) != (Ue | Te))
            {
                Violation("USART_DR written while the transmitter is off");
                return;
            }
            if(full)
            {
                Violation("USART_DR written while TXE is 0: a byte is lost");
            }
            data = value;
            full = true;
            this[(long)Registers.SR] &= ~(Txe | (statusRead ? Tc : 0));
            if(!shifting && Divider != 0)
            {
                StartShift(chain.NowNs(true));
            }
        }

        private void StartShift(long ns)
        {
            shift = data;
            full = false;
            shifting = true;
            this[(long)Registers.SR] = (this[(long)Registers.SR] | Txe) & ~Tc;
            shiftEndNs = ns + ByteNs;
            Arm(transmitter, shiftEndNs);
        }

        private void Transmitted()
        {
            transmitter.Enabled = false;
            if(!shifting)
            {
                return;
            }
            TxBytes++;
            var value = Noised(noiseOut, randomOut, shift);
            if(!silent)
            {
                LogByte(shiftEndNs, value);
                var handler = CharReceived;
                if(handler != null)
                {
                    handler(value);
                }
            }
            shifting = false;
            if(full && (this[(long)Registers.CR1] & Te) != 0)
            {
                StartShift(shiftEndNs);
            }
            else
            {
                this[(long)Registers.SR] |= Tc;
            }
            UpdateIrq();
        }

        private void PlanReception()
        {
            if(receiving)
            {
                return;
            }
            long begin;
            if(incoming.Count > 0)
            {
                next = incoming.Dequeue();
                begin = Math.Max(chain.NowNs(false), lineFreeNs);
            }
            else if(script.Count > 0)
            {
                var entry = script.Dequeue();
                next = entry.Value;
                begin = Math.Max(entry.Key, lineFreeNs);
            }
            else
            {
                return;
            }
            receiving = true;
            receptionEndNs = begin + (Divider != 0 ? ByteNs : 86806); // 115200 until the Box says its rate
            Arm(receiver, receptionEndNs);
        }

        private void Received()
        {
            receiver.Enabled = false;
            if(!receiving)
            {
                return;
            }
            receiving = false;
            lineFreeNs = receptionEndNs;
            RxBytes++;
            var value = Noised(noiseIn, randomIn, next);
            if((this[(long)Registers.CR1] & (Ue | Re)) != (Ue | Re) || Divider == 0)
            {
                LostOff++;
            }
            else if((this[(long)Registers.SR] & Rxne) != 0)
            {
                Overruns++;
                this[(long)Registers.SR] |= Ore; // 30.3.3: DR keeps the old byte, the new one is lost
            }
            else
            {
                this[(long)Registers.DR] = value;
                this[(long)Registers.SR] |= Rxne;
            }
            if(UpdateIrq())
            {
                // Seen in an update: RXNE rose in the instant in which WFI ended a block (12.255 091 510 s), and Renode
                // looked at it at the next limit, the next byte's, 10.833 us later. One byte of 227,781 was lost so (ORE),
                // and with it the update. A wake-up that is late for TXE loses nothing: what is to be sent stays in the
                // firmware's queue, and the line idles.
                wakeUp.Plan();
            }
            PlanReception();
        }

        private byte Noised(uint perBillion, OpqRandom random, byte value)
        {
            if(perBillion == 0)
            {
                return value;
            }
            var draw = random.Next();
            if((draw >> 8) % 1000000000UL >= perBillion)
            {
                return value;
            }
            NoisedBytes++;
            return (byte)(value ^ (1 << (int)(draw & 7)));
        }

        private void LogByte(long ns, byte value)
        {
            if(!logged)
            {
                return;
            }
            if(ns - logNs > 50000)
            {
                EndLine();
            }
            line.Append(value.ToString("x2", CultureInfo.InvariantCulture));
            logNs = ns;
            if(value == 0 || line.Length >= 512)
            {
                EndLine();
            }
        }

        private void EndLine()
        {
            if(line.Length > 0)
            {
                log.Append(logNs.ToString(CultureInfo.InvariantCulture)).Append(' ').Append(line).Append('\n');
                line.Clear();
            }
        }

        // Whether the line is up.
        private bool UpdateIrq()
        {
            var cr1 = this[(long)Registers.CR1];
            var wanted = ((cr1 & 0x10) != 0 ? Idle : 0) | ((cr1 & 0x20) != 0 ? Rxne | Ore : 0)
                | ((cr1 & 0x40) != 0 ? Tc : 0) | ((cr1 & 0x80) != 0 ? Txe : 0);
            var up = (cr1 & Ue) != 0 && (this[(long)Registers.SR] & wanted) != 0;
            IRQ.Set(up);
            return up;
        }

        private LimitTimer NewTimer(IMachine machine, string name)
        {
            return new LimitTimer(machine.ClockSource, 1000000000, this, name, UInt64.MaxValue,
                direction: Direction.Ascending, eventEnabled: true);
        }

        private void Arm(LimitTimer timer, long ns)
        {
            timer.Enabled = false;
            timer.Value = 0;
            timer.Limit = (ulong)Math.Max(1, ns - chain.NowNs(false));
            timer.Enabled = true;
        }

        // With OVER8 = 0 BRR divides the clock itself; with 1 its fraction has three bits.
        private uint Divider
        {
            get
            {
                var brr = this[(long)Registers.BRR];
                return (this[(long)Registers.CR1] & 0x8000) != 0 ? (brr >> 4) * 8 + (brr & 7) : brr;
            }
        }

        // Ten bits.
        private long ByteNs
        {
            get { return (long)((ulong)Divider * 10 * 1000000000 / frequency); }
        }

        private const uint Ore = 8u, Idle = 16u, Rxne = 32u, Tc = 64u, Txe = 128u;
        private const uint Re = 4u, Te = 8u, Ue = 0x2000u;

        private bool full;
        private bool shifting;
        private bool statusRead;
        private bool receiving;
        private bool silent;
        private byte data;
        private byte shift;
        private byte next;
        private long shiftEndNs;
        private long receptionEndNs;
        private long lineFreeNs;
        private long logNs;
        private uint noiseIn;
        private uint noiseOut;
        private OpqRandom randomIn = new OpqRandom(1);
        private OpqRandom randomOut = new OpqRandom(2);
        private readonly ulong frequency;
        private readonly bool logged;
        private readonly LimitTimer transmitter;
        private readonly LimitTimer receiver;
        private readonly WakeUp wakeUp;
        private readonly Queue<byte> incoming = new Queue<byte>();
        private readonly Queue<KeyValuePair<long, byte>> script = new Queue<KeyValuePair<long, byte>>();
        private readonly StringBuilder log = new StringBuilder();
        private readonly StringBuilder line = new StringBuilder();

        private enum Registers : long
        {
            SR = 0x00,
            DR = 0x04,
            BRR = 0x08,
            CR1 = 0x0C,
            CR2 = 0x10,
            CR3 = 0x14,
            GTPR = 0x18
        }
    }
}
