// One GPIO port (RM0090 8): what the firmware set, and what its pins see of the world outside.
using System;
using System.Collections.Generic;
using Antmicro.Renode.Core;
using Antmicro.Renode.Logging;
using Antmicro.Renode.Peripherals.Bus;

namespace Antmicro.Renode.Peripherals.Opq
{
    [AllowedTranslations(AllowedTranslation.ByteToDoubleWord | AllowedTranslation.WordToDoubleWord)]
    public class Gpio : OpqBlock, INumberedGPIOOutput
    {
        public Gpio(IMachine machine, Chain chain, uint modeReset = 0, uint speedReset = 0, uint pullReset = 0)
            : base(machine, chain, 0x400)
        {
            var lines = new Dictionary<int, IGPIO>();
            for(var pin = 0; pin < Pins; pin++)
            {
                lines[pin] = new GPIO();
            }
            Connections = lines;
            Define((long)Registers.MODER, modeReset, 0xFFFFFFFF);
            Define((long)Registers.OTYPER, 0x0, 0x0000FFFF);
            Define((long)Registers.OSPEEDR, speedReset, 0xFFFFFFFF);
            Define((long)Registers.PUPDR, pullReset, 0xFFFFFFFF);
            Define((long)Registers.IDR, 0x0, 0x00000000);
            Define((long)Registers.ODR, 0x0, 0x0000FFFF);
            Define((long)Registers.BSRR, 0x0, 0x00000000);
            Define((long)Registers.LCKR, 0x0, 0x0001FFFF);
            Define((long)Registers.AFRL, 0x0, 0xFFFFFFFF);
            Define((long)Registers.AFRH, 0x0, 0xFFFFFFFF);
            Reset();
        }

        // The world drives a pin; true when its level moved.
        public bool Drive(int pin, bool level)
        {
            var before = (driven & levels & 1u << pin) != 0;
            driven |= 1u << pin;
            levels = (levels & ~(1u << pin)) | (level ? 1u << pin : 0);
            return level != before;
        }

        public bool IsAlternate(int pin, uint function)
        {
            var selected = this[pin < 8 ? (long)Registers.AFRL : (long)Registers.AFRH] >> (pin % 8 * 4) & 15;
            return (this[(long)Registers.MODER] >> (2 * pin) & 3) == 2 && selected == function;
        }

        // Levels of the pins that are outputs: LEDs can be connected.
        public IReadOnlyDictionary<int, IGPIO> Connections { get; private set; }

        protected override void OnReset()
        {
            UpdateOutputs();
        }

        protected override uint OnRead(long offset, uint stored)
        {
            switch((Registers)offset)
            {
            case Registers.IDR:
                return Seen();
            case Registers.BSRR:
                return 0;
            default:
                return stored;
            }
        }

        protected override void OnWrite(long offset, uint before, uint value)
        {
            if((Registers)offset == Registers.BSRR)
            {
                var odr = this[(long)Registers.ODR];
                this[(long)Registers.ODR] = (odr & ~(value >> 16)) | (value & 0xFFFF); // 8.4.7: set wins
            }
            UpdateOutputs();
        }

        // What the input buffers see: our own output, else outside, else the pull; nothing in analog mode.
        private uint Seen()
        {
            var seen = 0u;
            for(var pin = 0; pin < Pins; pin++)
            {
                var mode = this[(long)Registers.MODER] >> (2 * pin) & 3;
                var high = (this[(long)Registers.ODR] >> pin & 1) != 0;
                var open = (this[(long)Registers.OTYPER] >> pin & 1) != 0;
                bool level;
                if(mode == 1 && !(open && high))
                {
                    level = high;
                }
                else if(mode == 3)
                {
                    level = false;
                }
                else if((driven >> pin & 1) != 0)
                {
                    level = (levels >> pin & 1) != 0;
                }
                else
                {
                    level = (this[(long)Registers.PUPDR] >> (2 * pin) & 3) == 1;
                }
                seen |= level ? 1u << pin : 0;
            }
            return seen;
        }

        private void UpdateOutputs()
        {
            for(var pin = 0; pin < Pins; pin++)
            {
                var output = (this[(long)Registers.MODER] >> (2 * pin) & 3) == 1;
                Connections[pin].Set(output && (this[(long)Registers.ODR] >> pin & 1) != 0);
            }
        }

        private const int Pins = 16;

        private uint driven; // from outside: a reset does not touch it
        private uint levels;

        private enum Registers : long
        {
            MODER = 0x00,
            OTYPER = 0x04,
            OSPEEDR = 0x08,
            PUPDR = 0x0C,
            IDR = 0x10,
            ODR = 0x14,
            BSRR = 0x18,
            LCKR = 0x1C,
            AFRL = 0x20,
            AFRH = 0x24
        }
    }
}
