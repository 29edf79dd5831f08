// The world outside the chip, from the same text file that QEMU's machine reads (hil/README.md has its words): one
// event per line, times in virtual ns. Also what a run leaves: a report in JSON, the link's log, the flash.
using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Text;
using Antmicro.Renode.Core;
using Antmicro.Renode.Exceptions;
using Antmicro.Renode.Peripherals;
using Antmicro.Renode.Peripherals.Memory;
using Antmicro.Renode.Peripherals.Timers;
using Antmicro.Renode.Time;

namespace Antmicro.Renode.Peripherals.Opq
{
    public class World : IPeripheral
    {
        public World(IMachine machine, Chain chain, Mains mains, Adc1 adc, Spi2 spi, Tim pps, Tim trigger, Usart link, Usart gps,
            Gpio gpioA, Gpio gpioB, Gpio gpioC, Pwr pwr, Rcc rcc, Iwdg iwdg, Dma dma1, Dma dma2, FlashInterface flashInterface,
            MappedMemory flash, MappedMemory sram, MappedMemory ccm, MappedMemory systemMemory)
        {
            this.chain = chain;
            this.mains = mains;
            this.adc = adc;
            this.pps = pps;
            this.link = link;
            this.gps = gps;
            this.pwr = pwr;
            this.rcc = rcc;
            this.flashInterface = flashInterface;
            flashInterface.CutInOperation += delegate
            {
                link.Silence();
                Ended = "cut";
            };
            this.flash = flash;
            this.sram = sram;
            this.ccm = ccm;
            this.systemMemory = systemMemory;
            ports = new[] { gpioA, gpioB, gpioC };
            Name("adc1", 0x40012000, adc);
            Name("spi2", 0x40003800, spi);
            Name("tim3", 0x40000400, trigger);
            Name("tim5", 0x40000C00, pps);
            Name("dma1", 0x40026000, dma1);
            Name("dma2", 0x40026400, dma2);
            Name("usart1", 0x40011000, link);
            Name("usart2", 0x40004400, gps);
            Name("flash", 0x40023C00, flashInterface);
            Name("iwdg", 0x40003000, iwdg);
            Name("gpioa", 0x40020000, gpioA);
            Name("gpiob", 0x40020400, gpioB);
            Name("gpioc", 0x40020800, gpioC);
            Name("pwr", 0x40007000, pwr);
            Name("rcc", 0x40023800, rcc);
            // RM0090 7.3.5 to 7.3.9
            rcc.Attach(0x20, 1, trigger);
            rcc.Attach(0x20, 3, pps);
            rcc.Attach(0x20, 14, spi);
            rcc.Attach(0x20, 17, gps);
            rcc.Attach(0x24, 4, link);
            rcc.Attach(0x24, 8, adc);
            rcc.Attach(0x10, 21, dma1);
            rcc.Attach(0x10, 22, dma2);
            Ended = "";
            timer = new LimitTimer(machine.ClockSource, 1000000000, this, "world", UInt64.MaxValue,
                direction: Direction.Ascending, eventEnabled: true);
            timer.LimitReached += Due;
        }

        // Outside the chip: a reset changes nothing here, and virtual time goes on.
        public void Reset()
        {
        }

        // Before `start`: the world file, and the flash's contents (up to 1 MB) from another.
        // Texts, not ReadFilePath: for a file that is missing the monitor says only that parameters do not match.
        public void Load(string world, string flashFile)
        {
            if(!File.Exists(world))
            {
                throw new RecoverableException("there is no world file " + world + ": set it first, e.g. $world=@/path/to/quiet.world");
            }
            if(!File.Exists(flashFile))
            {
                throw new RecoverableException("there is no firmware " + flashFile
                    + ": `opq-tools firmware build` makes one; set it first, e.g. $firmware=@/path/to/firmware/opqbox/flash.bin");
            }
            var contents = File.ReadAllBytes(flashFile);
            if(contents.Length > FlashBytes)
            {
                throw new RecoverableException(flashFile + " is larger than 1 MB");
            }
            var filled = new byte[FlashBytes];
            for(var at = 0; at < FlashBytes; at++)
            {
                filled[at] = at < contents.Length ? contents[at] : (byte)0xFF;
            }
            flash.WriteBytes(0, filled, 0, FlashBytes);
            var number = 0;
            foreach(var line in File.ReadAllLines(world))
            {
                number++;
                try
                {
                    ReadLine(line.Split('#')[0].Split(new[] { ' ', '\t' }, StringSplitOptions.RemoveEmptyEntries), world);
                }
                catch(Exception error)
                {
                    throw new RecoverableException(world + ":" + number + ": " + error.Message);
                }
            }
            AddFalls();
            events.Sort((a, b) => a.Ns != b.Ns ? a.Ns.CompareTo(b.Ns) : a.Number.CompareTo(b.Number));
            Script(link, linkBytes);
            Script(gps, gpsBytes);
            PowerOn();
            Arm();
        }

        // What is left: report.json, uart1.log and flash.bin in the folder.
        public void Save(string folder)
        {
            File.WriteAllText(Path.Combine(folder, "report.json"), Report());
            link.WriteLog(Path.Combine(folder, "uart1.log"));
            File.WriteAllBytes(Path.Combine(folder, "flash.bin"), flashInterface.Contents());
        }

        // The same names as in the report of QEMU's machine.
        public string Report()
        {
            chain.Sync(false);
            var report = new StringBuilder("{\n");
            report.Append("  \"end\": \"" + (Ended == "" ? "end" : Ended) + "\",\n");
            report.Append("  \"virtual_ns\": " + Text((ulong)chain.NowNs(false)));
            var unhandled = new List<string>();
            var violations = new List<string>();
            foreach(var named in blocks)
            {
                var facts = new List<string>();
                foreach(var counter in named.Block.Counters)
                {
                    facts.Add("\"" + counter.Key + "\": " + Text(counter.Value));
                }
                if(facts.Count > 0)
                {
                    report.Append(",\n  \"" + named.Name + "\": {" + String.Join(", ", facts.ToArray()) + "}");
                }
                foreach(var touched in named.Block.UnhandledOffsets)
                {
                    unhandled.Add("{\"address\": \"0x" + (named.Address + touched.Key).ToString("X8", CultureInfo.InvariantCulture)
                        + "\", \"block\": \"" + named.Name + "\", \"times\": " + Text(touched.Value) + "}");
                }
                foreach(var violation in named.Block.ViolationTexts)
                {
                    violations.Add("{\"what\": \"" + violation.Key + "\", \"times\": " + Text(violation.Value) + "}");
                }
            }
            report.Append(",\n  \"world\": {\"pulses\": " + Text(pulses) + "}");
            report.Append(",\n  \"unmodelled\": [" + String.Join(", ", unhandled.ToArray()) + "]");
            report.Append(",\n  \"violations\": [" + String.Join(", ", violations.ToArray()) + "]\n}\n");
            return report.ToString();
        }

        // Empty while it goes on; else "end" or "cut".
        public string Ended { get; private set; }

        private void Name(string name, long address, OpqBlock block)
        {
            blocks.Add(new Named { Name = name, Address = address, Block = block });
        }

        private static string Text(ulong value)
        {
            return value.ToString(CultureInfo.InvariantCulture);
        }

        // What memory holds after power-on is anything; the chip's identity is not.
        private void PowerOn()
        {
            unchecked
            {
                sram.WriteBytes(0, new OpqRandom(seed * 0x100000001B3UL + 1).Bytes(0x20000), 0, 0x20000);
                ccm.WriteBytes(0, new OpqRandom(seed * 0x100000001B3UL + 2).Bytes(0x10000), 0, 0x10000);
            }
            var identity = new byte[] { 1, 0, 0, 0, 2, 0, 3, 0, 4, 0, 5, 0 };
            systemMemory.WriteBytes(0x7A10, identity, 0, identity.Length);
            // 39.2 flash size in KB; DS8626 tables 80 and 82, typical: VREFINT 1.21 V, 0.76 V at 25 C and 2.5 mV/K
            var factory = new byte[] { 0x00, 0x04 };
            systemMemory.WriteBytes(0x7A22, factory, 0, 2);
            var calibration = new byte[] { 0xDE, 0x05, 0xBF, 0x03, 0xB7, 0x04 }; // 1502, 959, 1207 at 3.3 V
            systemMemory.WriteBytes(0x7A2A, calibration, 0, calibration.Length);
            flashInterface.Begin(seed, cutAfter);
        }

        private void ReadLine(string[] words, string world)
        {
            if(words.Length == 0)
            {
                return;
            }
            switch(words[0])
            {
            case "seed":
                seed = (ulong)Number(words, 1);
                break;
            case "mains":
                mains.Play(words[1], Beside(world, words[2]), Number(words, 3), Number(words, 4), Number(words, 5) != 0);
                break;
            case "mains_sine":
                mains.AddSine(words[1], Number(words, 2), Number(words, 3), Number(words, 4), Number(words, 5));
                break;
            case "dip":
                mains.AddDip(Number(words, 1), Number(words, 2), Number(words, 3));
                break;
            case "pps":
                Add(Number(words, 1), Kind.Pulse, 0, 1);
                break;
            case "pps_train":
                for(var k = 0L; k < Number(words, 4); k++)
                {
                    Add(Number(words, 1) + (long)Decimal.Floor((decimal)k * Number(words, 2) / Number(words, 3)), Kind.Pulse, 0, 1);
                }
                break;
            case "bytes":
                AddBytes(words[1], Number(words, 2), words[3]);
                break;
            case "bytes_file":
                foreach(var line in File.ReadAllLines(Beside(world, words[2])))
                {
                    var parts = line.Split(new[] { ' ', '\t' }, StringSplitOptions.RemoveEmptyEntries);
                    if(parts.Length == 2)
                    {
                        AddBytes(words[1], Number(parts, 0), parts[1]);
                    }
                }
                break;
            case "adc":
                Add(Number(words, 2), Kind.Adc, (int)Number(words, 1), (int)Number(words, 3));
                break;
            case "pin":
                Add(Number(words, 2), Kind.Pin, (words[1][0] - 'A') << 4 | Int32.Parse(words[1].Substring(1), CultureInfo.InvariantCulture), (int)Number(words, 3));
                break;
            case "pvd":
                Add(Number(words, 1), Kind.Pvd, 0, (int)Number(words, 2));
                break;
            case "cut":
                Add(Number(words, 1), Kind.Cut, 0, 0);
                break;
            case "cut_after":
                cutAfter = (ulong)Number(words, 1);
                break;
            case "noise":
                (words[1] == "usart1" ? link : gps).SetNoise(words[2] == "rx", (uint)Number(words, 3), (ulong)Number(words, 4));
                break;
            case "restarted":
                rcc.BeginRestarted();
                break;
            case "end":
                Add(Number(words, 1), Kind.End, 0, 0);
                break;
            default:
                throw new RecoverableException("'" + words[0] + "' is no word of a world file");
            }
        }

        private static long Number(string[] words, int at)
        {
            return Int64.Parse(words[at], NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture);
        }

        private static string Beside(string world, string name)
        {
            return Path.IsPathRooted(name) ? name : Path.Combine(Path.GetDirectoryName(world), name);
        }

        private void Add(long ns, Kind kind, int what, int value)
        {
            events.Add(new Event { Ns = ns, Kind = kind, What = what, Value = value, Number = events.Count });
        }

        private void AddBytes(string line, long ns, string hex)
        {
            var wanted = line == "usart1" ? linkBytes : gpsBytes;
            for(var at = 0; at < hex.Length; at += 2)
            {
                wanted.Add(new KeyValuePair<long, byte>(ns, Byte.Parse(hex.Substring(at, 2), NumberStyles.HexNumber, CultureInfo.InvariantCulture)));
            }
        }

        private static void Script(Usart usart, List<KeyValuePair<long, byte>> bytes)
        {
            // stable: bytes of one time keep their order
            var order = new List<int>();
            for(var at = 0; at < bytes.Count; at++)
            {
                order.Add(at);
            }
            order.Sort((a, b) => bytes[a].Key != bytes[b].Key ? bytes[a].Key.CompareTo(bytes[b].Key) : a.CompareTo(b));
            foreach(var at in order)
            {
                usart.Script(bytes[at].Key, bytes[at].Value);
            }
            usart.Begin();
        }

        // Every pulse falls again after 100 ms, at the latest half way to the next.
        private void AddFalls()
        {
            var rises = events.FindAll(found => found.Kind == Kind.Pulse);
            rises.Sort((a, b) => a.Ns != b.Ns ? a.Ns.CompareTo(b.Ns) : a.Number.CompareTo(b.Number));
            for(var at = 0; at < rises.Count; at++)
            {
                var high = at + 1 < rises.Count ? Math.Min(PulseNs, (rises[at + 1].Ns - rises[at].Ns) / 2) : PulseNs;
                Add(rises[at].Ns + high, Kind.Pulse, 0, 0);
            }
        }

        private void Due()
        {
            timer.Enabled = false;
            var now = chain.NowNs(false);
            while(next < events.Count && events[next].Ns <= now && Ended == "")
            {
                var found = events[next];
                next++;
                chain.RunTo(OpqTime.TickOfNs(found.Ns));
                Happen(found);
            }
            chain.Sync(false);
            chain.Rearm();
            Arm();
        }

        private void Arm()
        {
            timer.Enabled = false;
            if(next < events.Count && Ended == "")
            {
                timer.Value = 0;
                timer.Limit = (ulong)Math.Max(1, events[next].Ns - chain.NowNs(false));
                timer.Enabled = true;
            }
        }

        private void Happen(Event found)
        {
            switch(found.Kind)
            {
            case Kind.Pulse: // PA0, TIM5_CH1 (AF2)
                pulses += (ulong)found.Value;
                if(ports[0].Drive(0, found.Value != 0) && ports[0].IsAlternate(0, 2))
                {
                    pps.Pin(0, found.Value != 0, OpqTime.TickOfNs(found.Ns));
                }
                break;
            case Kind.Pin:
                if(found.What >> 4 < ports.Length)
                {
                    ports[found.What >> 4].Drive(found.What & 15, found.Value != 0);
                }
                break;
            case Kind.Adc:
                adc.SetInput(found.What, (uint)found.Value);
                break;
            case Kind.Pvd:
                pwr.SetLow(found.Value != 0);
                break;
            case Kind.Cut:
                flashInterface.Cut();
                link.Silence();
                Ended = "cut";
                break;
            case Kind.End:
                link.Silence();
                Ended = "end";
                break;
            }
        }

        private const int FlashBytes = 0x100000;
        private const long PulseNs = 100000000;

        private int next;
        private ulong pulses;
        private ulong seed = 1;
        private ulong cutAfter;
        private readonly Chain chain;
        private readonly Mains mains;
        private readonly Adc1 adc;
        private readonly Tim pps;
        private readonly Usart link;
        private readonly Usart gps;
        private readonly Pwr pwr;
        private readonly Rcc rcc;
        private readonly FlashInterface flashInterface;
        private readonly MappedMemory flash;
        private readonly MappedMemory sram;
        private readonly MappedMemory ccm;
        private readonly MappedMemory systemMemory;
        private readonly Gpio[] ports;
        private readonly List<Named> blocks = new List<Named>();
        private readonly LimitTimer timer;
        private readonly List<Event> events = new List<Event>();
        private readonly List<KeyValuePair<long, byte>> linkBytes = new List<KeyValuePair<long, byte>>();
        private readonly List<KeyValuePair<long, byte>> gpsBytes = new List<KeyValuePair<long, byte>>();

        private enum Kind
        {
            Pulse,
            Pin,
            Adc,
            Pvd,
            Cut,
            End
        }

        private class Named
        {
            public string Name;
            public long Address;
            public OpqBlock Block;
        }

        private class Event
        {
            public long Ns;
            public Kind Kind;
            public int What;
            public int Value;
            public int Number;
        }
    }
}
