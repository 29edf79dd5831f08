// Runs the models without a CPU: sets registers as the firmware does, moves the clock, prints what came of it as
// `name value`, one per line. Called with the scenario's name; test_renode_models.py has the answers.
using System;
using System.Collections.Generic;
using System.IO;
using Antmicro.Renode.Core;
using Antmicro.Renode.Peripherals.Memory;
using Antmicro.Renode.Peripherals.Opq;

public static class Drive
{
    public static int Main(string[] arguments)
    {
        var box = new Box();
        switch(arguments[0])
        {
        case "internal":
            Internal(box, arguments[1], Int32.Parse(arguments[2]));
            break;
        case "external":
            External(box, arguments[1]);
            break;
        case "captures":
            Captures(box, arguments[1]);
            break;
        case "uart":
            Uart(box, arguments[1], arguments[2]);
            break;
        case "asleep":
            Asleep(box, arguments[1]);
            break;
        case "watchdog":
            Watchdog(box);
            break;
        case "world":
            Outside(box, arguments[1]);
            break;
        case "flash":
            Flash(box, arguments[1]);
            break;
        case "options":
            Options(box, arguments[1]);
            break;
        case "missing":
            Missing(box, arguments[1]);
            break;
        default:
            return 2;
        }
        return 0;
    }

    // internal_adc.c: TIM3 triggers ADC1, DMA2 stream 0 fills 400 counts around.
    private static void Internal(Box box, string world, int oversampling)
    {
        box.Load(world);
        box.GpioC.WriteDoubleWord(0x00, 3u << 0);
        box.Adc.WriteDoubleWord(0x304, 2u << 16 | 1u << 23);
        box.Adc.WriteDoubleWord(0x0C, 2u);        // channel 10: 28 cycles
        box.Adc.WriteDoubleWord(0x38, 16u << 15); // injected: temperature
        box.Adc.WriteDoubleWord(0x08, 1u);
        box.Clock.RunFor(10000);
        box.Adc.WriteDoubleWord(0x34, 10u);
        box.Adc.WriteDoubleWord(0x04, 1u << 26);
        box.Dma2.WriteDoubleWord(0x18, 0x4001204Cu);
        box.Dma2.WriteDoubleWord(0x1C, 0x20000000u);
        box.Dma2.WriteDoubleWord(0x14, 400u);
        box.Dma2.WriteDoubleWord(0x24, 0u);
        box.Dma2.WriteDoubleWord(0x10, 3u << 16 | 1u << 13 | 1u << 11 | 1u << 10 | 1u << 8 | 0x1Fu);
        box.Adc.WriteDoubleWord(0x08, 1u | 1u << 8 | 1u << 9 | 8u << 24 | 1u << 28);
        var halves = box.Serve(box.Dma2, 0, 0x08, 0x3Du, delegate { box.Adc.WriteDoubleWord(0x08, box.Adc.ReadDoubleWord(0x08) | 1u << 22); });
        box.Timer(box.Tim3, (uint)(7000 / oversampling - 1));
        var begun = box.Now;
        box.Clock.RunFor(10000000000);
        Print("conversions", box.Adc.ConversionCount);
        Print("injected", box.Adc.InjectedCount);
        Print("missed", box.Adc.Missed);
        Print("preempted", box.Adc.Preempted);
        Print("overruns", box.Adc.Overruns);
        Print("halves", (ulong)halves.Count);
        Print("first_half_ns", halves[0] - begun);
        Print("second_half_ns", halves[1] - begun);
        Print("last_half_ns", halves[halves.Count - 1] - begun);
        Print("unserviced", box.Dma2.UnservicedHalf);
        Print("count0", box.Machine.Bus.ReadWord(0x20000000));
        box.Finish();
    }

    // external_adc.c: TIM3_CH1 is CNV, TIM3_CH2 asks DMA1 stream 5 for a word to SPI2, stream 3 fills 400 counts.
    private static void External(Box box, string world)
    {
        box.Load(world);
        box.Dma1.WriteDoubleWord(0x10 + 3 * 0x18 + 8, 0x4000380Cu);
        box.Dma1.WriteDoubleWord(0x10 + 3 * 0x18 + 12, 0x20000000u);
        box.Dma1.WriteDoubleWord(0x10 + 3 * 0x18 + 4, 400u);
        box.Dma1.WriteDoubleWord(0x10 + 3 * 0x18 + 20, 0u);
        box.Dma1.WriteDoubleWord(0x10 + 3 * 0x18, 3u << 16 | 1u << 13 | 1u << 11 | 1u << 10 | 1u << 8 | 0x1Fu);
        box.Dma1.WriteDoubleWord(0x10 + 5 * 0x18 + 8, 0x4000380Cu);
        box.Dma1.WriteDoubleWord(0x10 + 5 * 0x18 + 12, 0x20001000u);
        box.Dma1.WriteDoubleWord(0x10 + 5 * 0x18 + 4, 1u);
        box.Dma1.WriteDoubleWord(0x10 + 5 * 0x18 + 20, 0u);
        box.Dma1.WriteDoubleWord(0x10 + 5 * 0x18, 5u << 25 | 3u << 16 | 1u << 13 | 1u << 11 | 1u << 6 | 1u << 8 | 1u);
        box.Spi.WriteDoubleWord(0x04, 1u);
        box.Spi.WriteDoubleWord(0x00, 1u << 2 | 1u << 9 | 1u << 8 | 1u << 11 | 1u << 3 | 1u << 6);
        box.Tim3.WriteDoubleWord(0x34, 190u);
        box.Tim3.WriteDoubleWord(0x38, 202u);
        box.Tim3.WriteDoubleWord(0x18, 6u << 4);
        box.Tim3.WriteDoubleWord(0x20, 1u);
        box.Tim3.WriteDoubleWord(0x0C, 1u << 10);
        var counts = new List<string>();
        var halves = box.Serve(box.Dma1, 3, 0x08, 0x3Du << 22, delegate { });
        box.Timer(box.Tim3, 6999u, 6990u); // CNV is low until the update
        box.Clock.RunFor(30000000); // 360 samples
        for(var at = 0; at < 200; at++)
        {
            counts.Add(((short)box.Machine.Bus.ReadWord((ulong)(0x20000000 + 2 * at))).ToString());
        }
        Console.WriteLine("counts " + String.Join(",", counts.ToArray()));
        box.Clock.RunFor(10000000000 - 30000000);
        Print("conversions", box.Spi.ConversionCount);
        Print("frames", box.Spi.Frames);
        Print("too_early", box.Spi.TooEarly);
        Print("unread", box.Spi.Unread);
        Print("halves", (ulong)halves.Count);
        box.Finish();
    }

    // tick.c: TIM5 runs free and captures PPS in channel 1 and TIM3's trigger in channel 2.
    private static void Captures(Box box, string world)
    {
        box.Load(world);
        box.GpioA.WriteDoubleWord(0x00, 2u);
        box.GpioA.WriteDoubleWord(0x20, 2u);
        box.Tim5.WriteDoubleWord(0x2C, UInt32.MaxValue);
        box.Tim5.WriteDoubleWord(0x08, 1u << 4);
        box.Tim5.WriteDoubleWord(0x18, 1u | 2u << 4 | 3u << 8);
        box.Tim5.WriteDoubleWord(0x20, 1u | 1u << 4);
        box.Tim5.WriteDoubleWord(0x14, 1u);
        box.Tim5.WriteDoubleWord(0x10, 0u);
        box.Tim5.WriteDoubleWord(0x0C, 2u);
        box.Tim5.WriteDoubleWord(0x00, 1u);
        box.Timer(box.Tim3, 6999u);
        var ticks = new List<string>();
        box.Tim5.IRQ.Changed += delegate(bool level)
        {
            if(level)
            {
                box.Later(delegate { ticks.Add(box.Tim5.ReadDoubleWord(0x34).ToString()); });
            }
        };
        for(var second = 0; second < 60; second++)
        {
            box.Clock.RunFor(1000000000);
        }
        Console.WriteLine("ticks " + String.Join(",", ticks.ToArray()));
        Print("count", box.Tim5.ReadDoubleWord(0x24));
        Print("trigger", box.Tim5.ReadDoubleWord(0x38));
        Print("captures2", box.Tim5.CapturesOf(2));
        box.Finish();
    }

    private static void Uart(Box box, string world, string folder)
    {
        box.Load(world);
        box.Link.WriteDoubleWord(0x08, 91u);
        box.Link.WriteDoubleWord(0x0C, 1u << 13 | 1u << 3 | 1u << 2 | 1u << 5);
        var sent = new Queue<byte>(new byte[] { 1, 2, 3, 0 });
        var received = new List<string>();
        box.Link.IRQ.Changed += delegate(bool level)
        {
            if(level)
            {
                box.Later(delegate { Interrupt(box, sent, received); });
            }
        };
        box.Clock.RunFor(1000);
        box.Link.WriteDoubleWord(0x0C, box.Link.ReadDoubleWord(0x0C) | 1u << 7); // TXEIE
        Interrupt(box, sent, received);
        box.Clock.RunFor(10000000);
        Console.WriteLine("received " + String.Join(",", received.ToArray()));
        Print("tx", box.Link.TxBytes);
        Print("overruns", box.Link.Overruns);
        box.World.Save(folder);
        box.Finish();
    }

    private static void Interrupt(Box box, Queue<byte> sent, List<string> received)
    {
        while(box.Link.IRQ.IsSet)
        {
            var status = box.Link.ReadDoubleWord(0x00);
            if((status & 0x28) != 0)
            {
                received.Add(box.Now + ":" + box.Link.ReadDoubleWord(0x04).ToString("x2"));
            }
            if((status & 0x80) != 0)
            {
                if(sent.Count > 0)
                {
                    box.Link.WriteDoubleWord(0x04, sent.Dequeue());
                }
                else
                {
                    box.Link.WriteDoubleWord(0x0C, box.Link.ReadDoubleWord(0x0C) & ~(1u << 7));
                }
            }
        }
    }

    // Bytes, pulses, a dip of the supply and half buffers, with a CPU that is late wherever Renode may be.
    private static void Asleep(Box box, string world)
    {
        box.Load(world);
        var tick = new Antmicro.Renode.Peripherals.Timers.LimitTimer(box.Clock, 1000000000, box.Chain, "SysTick", 1000000,
            direction: Antmicro.Renode.Time.Direction.Ascending, eventEnabled: true);
        tick.Enabled = true;
        var received = new List<string>();
        box.Link.WriteDoubleWord(0x08, 91u);
        box.Link.WriteDoubleWord(0x0C, 1u << 13 | 1u << 3 | 1u << 2 | 1u << 5);
        var bytes = new Sleeper(box, box.Link.IRQ, delegate { Interrupt(box, new Queue<byte>(), received); });
        box.GpioA.WriteDoubleWord(0x00, 2u);
        box.GpioA.WriteDoubleWord(0x20, 2u);
        box.Tim5.WriteDoubleWord(0x2C, UInt32.MaxValue);
        box.Tim5.WriteDoubleWord(0x18, 1u);
        box.Tim5.WriteDoubleWord(0x20, 1u);
        box.Tim5.WriteDoubleWord(0x14, 1u);
        box.Tim5.WriteDoubleWord(0x10, 0u);
        box.Tim5.WriteDoubleWord(0x0C, 2u);
        box.Tim5.WriteDoubleWord(0x00, 1u);
        var ticks = new List<string>();
        new Sleeper(box, box.Tim5.IRQ, delegate { ticks.Add(box.Tim5.ReadDoubleWord(0x34).ToString()); });
        var dips = 0UL;
        box.Exti.WriteDoubleWord(0x00, 1u << 16);
        box.Exti.WriteDoubleWord(0x08, 1u << 16);
        box.Exti.WriteDoubleWord(0x0C, 1u << 16);
        box.Pwr.WriteDoubleWord(0x00, 0x40F0u);
        var supply = new Sleeper(box, box.Exti.PVD, delegate
        {
            box.Exti.WriteDoubleWord(0x14, 1u << 16);
            dips += box.Pwr.ReadDoubleWord(0x04) >> 2 & 1;
        });
        box.Adc.WriteDoubleWord(0x304, 2u << 16);
        box.Adc.WriteDoubleWord(0x0C, 2u);
        box.Adc.WriteDoubleWord(0x34, 10u);
        box.Adc.WriteDoubleWord(0x04, 1u << 26);
        box.Adc.WriteDoubleWord(0x08, 1u);
        box.Clock.RunFor(10000);
        box.Dma2.WriteDoubleWord(0x18, 0x4001204Cu);
        box.Dma2.WriteDoubleWord(0x1C, 0x20000000u);
        box.Dma2.WriteDoubleWord(0x14, 80u); // two halves of 40 samples, as the firmware's
        box.Dma2.WriteDoubleWord(0x24, 0u);
        box.Dma2.WriteDoubleWord(0x10, 3u << 16 | 1u << 13 | 1u << 11 | 1u << 10 | 1u << 8 | 0x1Fu);
        box.Adc.WriteDoubleWord(0x08, 1u | 1u << 8 | 1u << 9 | 8u << 24 | 1u << 28);
        var halves = new Sleeper(box, (GPIO)box.Dma2.Connections[0], delegate { box.Dma2.WriteDoubleWord(0x08, 0x3Du); });
        var risen = new Sleeper(box, box.Adc.IRQ, delegate { });
        box.Timer(box.Tim3, 6999u);
        box.Clock.RunFor(1000000000);
        Print("bytes", (ulong)received.Count);
        Print("overruns", box.Link.Overruns);
        Print("byte_late_ns", bytes.LatestNs);
        Console.WriteLine("ticks " + String.Join(",", ticks.ToArray()));
        Print("overcaptures", box.Tim5.OvercapturesOf(1));
        Print("dips", dips);
        Print("dip_late_ns", supply.LatestNs);
        Print("halves", halves.Rises);
        Print("half_late_ns", halves.LatestNs);
        Print("unserviced", box.Dma2.UnservicedHalf);
        Print("adc_rises", risen.Rises);
    }

    private static void Watchdog(Box box)
    {
        Print("csr_power", box.Rcc.ReadDoubleWord(0x74));
        box.Rcc.WriteDoubleWord(0x74, 1u << 24);
        Print("csr_cleared", box.Rcc.ReadDoubleWord(0x74));
        box.Iwdg.WriteDoubleWord(0x00, 0xCCCCu);
        box.Iwdg.WriteDoubleWord(0x00, 0x5555u);
        box.Iwdg.WriteDoubleWord(0x04, 4u);
        box.Iwdg.WriteDoubleWord(0x08, 4095u);
        box.Iwdg.WriteDoubleWord(0x00, 0xAAAAu);
        box.Clock.RunFor(8000000000);
        box.Iwdg.WriteDoubleWord(0x00, 0xAAAAu);
        box.Clock.RunFor(8191999999);
        Print("before", box.Iwdg.Resets);
        box.Clock.RunFor(1);
        Print("after", box.Iwdg.Resets);
        Print("requested", (ulong)box.Machine.ResetsAsked);
        box.Rcc.Reset();
        box.Iwdg.Reset();
        Print("csr_watchdog", box.Rcc.ReadDoubleWord(0x74));
        box.Clock.RunFor(100000000000);
        Print("stays", box.Iwdg.Resets);
        box.Rcc.WriteDoubleWord(0x74, 1u << 24);
        box.Rcc.Reset();
        Print("csr_software", box.Rcc.ReadDoubleWord(0x74));
    }

    // Pins, supply, ADC counts and the end of power, each at its time.
    private static void Outside(Box box, string world)
    {
        try
        {
            box.Load(world);
        }
        catch(Antmicro.Renode.Exceptions.RecoverableException error)
        {
            Console.WriteLine("refused " + error.Message);
            return;
        }
        box.GpioC.WriteDoubleWord(0x0C, 1u << 16); // pin 8 up
        box.Exti.WriteDoubleWord(0x00, 1u << 16);
        box.Exti.WriteDoubleWord(0x08, 1u << 16);
        box.Pwr.WriteDoubleWord(0x00, 0x40F0u);
        box.Clock.RunFor(1000000);
        Print("open", box.GpioC.ReadDoubleWord(0x10));
        Print("supplied", box.Pwr.ReadDoubleWord(0x04));
        box.Clock.RunFor(2000000);
        Print("jumper", box.GpioC.ReadDoubleWord(0x10));
        Print("low", box.Pwr.ReadDoubleWord(0x04));
        Print("pending", box.Exti.ReadDoubleWord(0x14));
        Print("line", box.Exti.PVD.IsSet ? 1UL : 0UL);
        box.Exti.WriteDoubleWord(0x14, 1u << 16);
        Print("cleared", box.Exti.PVD.IsSet ? 1UL : 0UL);
        box.Adc.WriteDoubleWord(0x304, 2u << 16);
        box.Adc.WriteDoubleWord(0x38, 11u << 15);
        box.Adc.WriteDoubleWord(0x08, 1u);
        box.Clock.RunFor(10000);
        box.Adc.WriteDoubleWord(0x08, 1u | 1u << 22);
        box.Clock.RunFor(100000);
        Print("supply", box.Adc.ReadDoubleWord(0x3C));
        Print("jeoc", box.Adc.ReadDoubleWord(0x00) & 4);
        Console.WriteLine("before " + box.World.Ended);
        box.Clock.RunFor(2000000);
        Console.WriteLine("after " + box.World.Ended);
        Print("dead", box.FlashInterface.IsCut ? 1UL : 0UL);
        Print("absent", box.GpioC.ReadDoubleWord(0x40));
        box.Finish();
    }

    private static void Flash(Box box, string world)
    {
        box.Load(world);
        box.Store(0x8000, 0x12345678); // locked
        Print("locked_sr", box.FlashInterface.ReadDoubleWord(0x0C));
        box.FlashInterface.WriteDoubleWord(0x04, 0x45670123u);
        box.FlashInterface.WriteDoubleWord(0x04, 0xCDEF89ABu);
        box.FlashInterface.WriteDoubleWord(0x10, 0x200u | 1u);
        Print("locked_word", box.Word(0x8000));
        Print("pgs", box.FlashInterface.ReadDoubleWord(0x0C));
        box.FlashInterface.WriteDoubleWord(0x0C, 0xF3u);
        box.Store(0x8000, 0x0FF0AA55);
        Print("busy", box.FlashInterface.ReadDoubleWord(0x0C));
        box.Clock.RunFor(16000);
        Print("idle", box.FlashInterface.ReadDoubleWord(0x0C));
        box.Store(0x8000, 0xFFFF55AA);
        Print("busy2", box.FlashInterface.ReadDoubleWord(0x0C));
        Print("nor", box.Word(0x8000));
        box.Clock.RunFor(16000);
        box.FlashInterface.WriteDoubleWord(0x10, 0x200u | 2u | 2u << 3);
        box.FlashInterface.WriteDoubleWord(0x10, 0x200u | 2u | 2u << 3 | 1u << 16);
        box.Clock.RunFor(249999999);
        Print("erasing", box.FlashInterface.ReadDoubleWord(0x0C));
        box.Clock.RunFor(1);
        Print("erased_sr", box.FlashInterface.ReadDoubleWord(0x0C));
        Print("erased", box.Word(0x8000));
        box.FlashInterface.WriteDoubleWord(0x10, 0x200u | 1u);
        for(uint at = 0; at < 8; at++)
        {
            box.Store((int)(0xC000 + 4 * at), 0u);
            box.FlashInterface.ReadDoubleWord(0x0C);
            box.Clock.RunFor(16000);
        }
        var left = box.FlashInterface.Contents();
        for(var at = 0; at < 8; at++)
        {
            Print("word" + at, BitConverter.ToUInt32(left, 0xC000 + 4 * at));
        }
        Print("programs", box.FlashInterface.Programs);
        Print("erases", box.FlashInterface.Erases);
        Print("cut", box.FlashInterface.IsCut ? 1UL : 0UL);
    }

    private static void Options(Box box, string world)
    {
        box.Load(world);
        box.FlashInterface.WriteDoubleWord(0x04, 0x45670123u);
        box.FlashInterface.WriteDoubleWord(0x04, 0xCDEF89ABu);
        box.FlashInterface.WriteDoubleWord(0x14, 0); // locked
        Print("factory", box.FlashInterface.ReadDoubleWord(0x14));
        box.FlashInterface.WriteDoubleWord(0x08, 0x08192A3Bu);
        box.FlashInterface.WriteDoubleWord(0x08, 0x4C5D6E7Fu);
        box.FlashInterface.WriteDoubleWord(0x14, 0x0FFBAAE0u | 2u); // brown-out level 3, sector 2
        box.Clock.RunFor(250063999);
        Print("busy", box.FlashInterface.ReadDoubleWord(0x0C) >> 16 & 1);
        box.Clock.RunFor(1);
        Print("now", box.FlashInterface.ReadDoubleWord(0x14));
        box.FlashInterface.WriteDoubleWord(0x10, 0x200u | 2u | 2u << 3 | 1u << 16);
        Print("refused", box.FlashInterface.ReadDoubleWord(0x0C));
        box.FlashInterface.WriteDoubleWord(0x0C, 0xF3u);
        box.FlashInterface.WriteDoubleWord(0x10, 0x200u | 1u);
        box.Store(0x8000, 0u);
        Print("refused_word", box.FlashInterface.ReadDoubleWord(0x0C));
        Print("word", box.Word(0x8000));
        box.FlashInterface.WriteDoubleWord(0x14, 0x0FFFAAE0u); // never started
        box.FlashInterface.Reset();
        Print("after_reset", box.FlashInterface.ReadDoubleWord(0x14));
        box.Finish();
    }

    // What a first try by hand meets: nothing is where $firmware or $world say.
    private static void Missing(Box box, string world)
    {
        foreach(var pair in new[] { new[] { world, world + ".flash" }, new[] { world + ".world", world } })
        {
            try
            {
                box.World.Load(pair[0], pair[1]);
            }
            catch(Antmicro.Renode.Exceptions.RecoverableException error)
            {
                Console.WriteLine((pair[0] == world ? "firmware " : "world ") + error.Message);
            }
        }
    }

    private static void Print(string name, ulong value)
    {
        Console.WriteLine(name + " " + value);
    }
}

// A CPU that always sleeps in the worst instant: it looks at a line when the next limit is reached after its rise, whatever
// timer that is, SysTick's each ms at the latest.
public class Sleeper
{
    public Sleeper(Box box, GPIO line, Action handler)
    {
        line.Changed += delegate(bool level)
        {
            if(level)
            {
                Rises++;
                roseNs = box.Now;
            }
        };
        box.Clock.AfterLimit += delegate
        {
            if(line.IsSet && box.Now > roseNs)
            {
                LatestNs = Math.Max(LatestNs, box.Now - roseNs);
                handler();
            }
        };
    }

    public ulong Rises { get; private set; }

    public ulong LatestNs { get; private set; }

    private ulong roseNs;
}

// The entries of f405.repl and box.repl, by hand.
public class Box
{
    public Box()
    {
        Machine = new Machine();
        Clock = Machine.Clock;
        Chain = new Chain(Machine);
        var mains = new Mains(Machine);
        memory = new MappedMemory(Machine, 0x100000);
        Rcc = new Rcc(Machine, Chain);
        Tim3 = new Tim(Machine, Chain, 3);
        Tim5 = new Tim(Machine, Chain, 5);
        Dma1 = new Dma(Machine, Chain);
        Dma2 = new Dma(Machine, Chain);
        Adc = new Adc1(Machine, Chain, Dma2, Tim3, mains, 10);
        Spi = new Spi2(Machine, Chain, Dma1, Tim3, mains);
        Link = new Usart(Machine, Chain, 84000000, true);
        var gps = new Usart(Machine, Chain, 42000000);
        GpioA = new Gpio(Machine, Chain, 0xA8000000, 0, 0x64000000);
        GpioC = new Gpio(Machine, Chain);
        Exti = new Exti(Machine, Chain);
        Pwr = new Pwr(Machine, Chain, Exti);
        Iwdg = new Iwdg(Machine, Chain, Rcc);
        FlashInterface = new FlashInterface(Machine, Chain, memory);
        new Syscfg(Machine, Chain);
        new Dbgmcu(Machine, Chain);
        World = new World(Machine, Chain, mains, Adc, Spi, Tim5, Tim3, Link, gps, GpioA, new Gpio(Machine, Chain), GpioC, Pwr, Rcc,
            Iwdg, Dma1, Dma2, FlashInterface, memory, new MappedMemory(Machine, 0x20000), new MappedMemory(Machine, 0x10000), new MappedMemory(Machine, 0x8000));
    }

    public void Load(string world)
    {
        var empty = Path.Combine(Path.GetDirectoryName(world), "empty.bin");
        File.WriteAllBytes(empty, new byte[0]);
        World.Load(world, empty);
    }

    // As trigger.c: preloaded, TRGO at each update.
    public void Timer(Tim timer, uint reload, uint count = 0)
    {
        timer.WriteDoubleWord(0x2C, reload);
        timer.WriteDoubleWord(0x04, 2u << 4);
        timer.WriteDoubleWord(0x24, count);
        timer.WriteDoubleWord(0x00, 1u | 1u << 7);
    }

    // Clears a stream's flags at its interrupt, a little later as a handler would; gives the times.
    public List<ulong> Serve(Dma dma, int stream, long clear, uint flags, Action also)
    {
        var times = new List<ulong>();
        ((GPIO)dma.Connections[stream]).Changed += delegate(bool level)
        {
            if(level)
            {
                times.Add(Now);
                Later(delegate { dma.WriteDoubleWord(clear, flags); also(); });
            }
        };
        return times;
    }

    // 10 us from now, when nothing runs any more.
    public void Later(Action action)
    {
        var timer = new Antmicro.Renode.Peripherals.Timers.LimitTimer(Clock, 1000000000, Chain, "later",
            direction: Antmicro.Renode.Time.Direction.Ascending, eventEnabled: true);
        timer.LimitReached += delegate
        {
            timer.Enabled = false;
            Clock.Timers.Remove(timer);
            action();
        };
        timer.Limit = 10000;
        timer.Enabled = true;
    }

    public void Store(int offset, uint word)
    {
        memory.WriteBytes(offset, BitConverter.GetBytes(word), 0, 4);
    }

    public ulong Word(int offset)
    {
        return BitConverter.ToUInt32(memory.ReadBytes(offset, 4), 0);
    }

    public void Finish()
    {
        Console.WriteLine("report " + World.Report().Replace("\n", " "));
    }

    public ulong Now
    {
        get { return Clock.CurrentValue.Ticks; }
    }

    public readonly Machine Machine;
    public readonly Antmicro.Renode.Time.ClockSource Clock;
    public readonly Chain Chain;
    public readonly Rcc Rcc;
    public readonly Tim Tim3;
    public readonly Tim Tim5;
    public readonly Dma Dma1;
    public readonly Dma Dma2;
    public readonly Adc1 Adc;
    public readonly Spi2 Spi;
    public readonly Usart Link;
    public readonly Gpio GpioA;
    public readonly Gpio GpioC;
    public readonly Exti Exti;
    public readonly Pwr Pwr;
    public readonly Iwdg Iwdg;
    public readonly FlashInterface FlashInterface;
    public readonly World World;
    private readonly MappedMemory memory;
}
