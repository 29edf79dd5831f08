// Mains at a converter's input: a recording (each count holds until the next is due) or sines with dips, sampled
// at the tick in which the converter holds. Nothing is summed up in time, so nothing drifts.
using System;
using System.Collections.Generic;
using System.IO;
using Antmicro.Renode.Core;
using Antmicro.Renode.Exceptions;
using Antmicro.Renode.Peripherals;

namespace Antmicro.Renode.Peripherals.Opq
{
    public class Mains : IPeripheral
    {
        public Mains(IMachine machine)
        {
        }

        // Outside the chip: a reset does not touch it.
        public void Reset()
        {
        }

        public void Play(string input, string path, long rateMillihz, long startNs, bool loop)
        {
            var bytes = File.ReadAllBytes(path);
            if(bytes.Length < 2 || bytes.Length % 2 != 0)
            {
                throw new RecoverableException(path + " holds no int16 counts, or half of one");
            }
            var counts = new short[bytes.Length / 2];
            for(var at = 0; at < counts.Length; at++)
            {
                counts[at] = (short)(bytes[2 * at] | bytes[2 * at + 1] << 8);
            }
            recordings[input] = new Recording { Counts = counts, RateMillihz = rateMillihz, StartNs = startNs, Loop = loop };
        }

        public void AddSine(string input, long frequencyUhz, long amplitudeLsb, long offsetLsb, long phaseMrad)
        {
            sines.Add(new Sine { Input = input, FrequencyUhz = frequencyUhz, Amplitude = amplitudeLsb, Offset = offsetLsb, PhaseRad = phaseMrad / 1000.0 });
        }

        public void AddDip(long startNs, long endNs, long permille)
        {
            dips.Add(new Dip { StartNs = startNs, EndNs = endNs, Share = permille / 1000.0 });
        }

        // What the input is worth at `tick`, as a count; -1 at ADC1 when the world has no mains there.
        public int Count(string input, long tick)
        {
            var internalOne = input == "adc1";
            var share = 1.0;
            foreach(var dip in dips)
            {
                if((decimal)tick * 250 >= (decimal)dip.StartNs * 21 && (decimal)tick * 250 < (decimal)dip.EndNs * 21)
                {
                    share *= dip.Share;
                }
            }
            var any = false;
            var value = 0.0;
            foreach(var sine in sines)
            {
                if(sine.Input == input)
                {
                    // turns = f_uHz 1e-6 * tick / 84e6; whole turns go before digits are lost
                    var part = (double)((decimal)sine.FrequencyUhz * tick % 84000000000000m);
                    value += sine.Offset + share * sine.Amplitude * Math.Sin(2 * Math.PI * (part / 84e12) + sine.PhaseRad);
                    any = true;
                }
            }
            Recording recording;
            if(recordings.TryGetValue(input, out recording))
            {
                any = true;
                value += recording.At(tick, internalOne ? 2048 : 0);
            }
            if(!any)
            {
                return internalOne ? -1 : 0;
            }
            var count = Math.Floor(value + 0.5);
            return (int)Math.Max(internalOne ? 0 : Int16.MinValue, Math.Min(internalOne ? 4095 : Int16.MaxValue, count));
        }

        private readonly List<Sine> sines = new List<Sine>();
        private readonly List<Dip> dips = new List<Dip>();
        private readonly Dictionary<string, Recording> recordings = new Dictionary<string, Recording>();

        private class Sine
        {
            public string Input;
            public long FrequencyUhz;
            public double Amplitude;
            public double Offset;
            public double PhaseRad;
        }

        private class Dip
        {
            public long StartNs;
            public long EndNs;
            public double Share;
        }

        private class Recording
        {
            // floor((t - start) * rate), t = tick * 250 / 21 ns: whole numbers all the way.
            public int At(long tick, int outside)
            {
                var since = (decimal)tick * 250 - (decimal)StartNs * 21;
                var at = since < 0 ? -1 : (long)Decimal.Floor(since * RateMillihz / 21m / 1000000000000m);
                if(Loop && at >= 0)
                {
                    at %= Counts.Length;
                }
                return at < 0 || at >= Counts.Length ? outside : Counts[at];
            }

            public short[] Counts;
            public long RateMillihz;
            public long StartNs;
            public bool Loop;
        }
    }
}
