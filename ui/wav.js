// SPDX-License-Identifier: Apache-2.0
// Sound as numbers: a clip of 16-bit samples and its WAV file, other rates made 16 kHz, and where a long clip may be cut.

export const HEARD_HZ = 16_000;   // what models that hear take
const ZERO_CROSSINGS = 16;

/** Samples from -1 to 1 as 16-bit ones; what is louder is clipped. */
export function toInt16(samples) {
  const out = new Int16Array(samples.length);
  for (let i = 0; i < out.length; ++i) out[i] = Math.max(-32768, Math.min(32767, Math.round(samples[i] * 32768)));
  return out;
}

/** One channel of 16-bit samples that grows. */
export class Clip {
  constructor(rate) {
    this.rate = rate;
    this.length = 0;   // in samples
    this.parts = [];
  }

  get seconds() {
    return this.length / this.rate;
  }

  push(samples) {
    this.parts.push(samples);
    this.length += samples.length;
  }

  /** The samples from `from` to before `to`. */
  slice(from = 0, to = this.length) {
    const out = new Int16Array(Math.max(0, Math.min(to, this.length) - from));
    let at = 0;   // of the part
    for (const part of this.parts) {
      const begin = Math.max(from, at), end = Math.min(to, at + part.length);
      if (begin < end) out.set(part.subarray(begin - at, end - at), begin - from);
      at += part.length;
    }
    return out;
  }

  /** A WAV file of the samples from `from` to before `to`. */
  wav(from = 0, to = this.length) {
    const samples = this.slice(from, to), size = samples.length * 2;
    const head = new DataView(new ArrayBuffer(44));
    const letters = (at, text) => [...text].forEach((letter, i) => head.setUint8(at + i, letter.charCodeAt(0)));
    letters(0, 'RIFF');
    head.setUint32(4, 36 + size, true);
    letters(8, 'WAVEfmt ');
    head.setUint32(16, 16, true);
    head.setUint16(20, 1, true);               // whole numbers
    head.setUint16(22, 1, true);               // channels
    head.setUint32(24, this.rate, true);
    head.setUint32(28, this.rate * 2, true);   // bytes a second
    head.setUint16(32, 2, true);               // bytes of a sample of all channels
    head.setUint16(34, 16, true);              // bits
    letters(36, 'data');
    head.setUint32(40, size, true);
    return new Blob([head.buffer, samples], {type: 'audio/wav'});
  }

  /** Where, between two samples, the quietest 20 ms are: their middle. */
  quietest(from, to) {
    const samples = this.slice(from, to), size = Math.round(this.rate / 50);
    let least = Infinity, out = to;
    for (let at = 0; at + size <= samples.length; at += size) {
      let sum = 0;
      for (let i = at; i < at + size; ++i) sum += samples[i] * samples[i];
      if (sum >= least) continue;
      least = sum;
      out = from + at + (size >> 1);
    }
    return out;
  }

  /** [from, to] of parts of at most `most` seconds, from sample `from` on, cut where it is quietest in their last `slack` seconds. */
  cuts(most, slack, from = 0) {
    const out = [];
    while (this.length - from > most * this.rate) {
      const to = this.quietest(from + Math.round((most - slack) * this.rate), from + Math.round(most * this.rate));
      out.push([from, to]);
      from = to;
    }
    out.push([from, this.length]);
    return out;
  }
}

const divisorOf = (a, b) => (b === 0 ? a : divisorOf(b, a % b));

/**
 * Samples of one rate as those of another, piece by piece. Each is a sum over its neighbours, weighted by a sinc under a Blackman window
 * (J. O. Smith, Digital Audio Resampling); the weights depend only on where it lies between two of them, and that repeats.
 */
export class Resampler {
  constructor(from, to) {
    const divisor = divisorOf(from, to);
    this.up = to / divisor;
    this.down = from / divisor;
    const cutoff = from > to ? (0.95 * to) / from : 1;   // of half the rate that comes in
    this.half = Math.ceil(ZERO_CROSSINGS / cutoff);
    this.weights = Array.from({length: this.up}, (_, phase) => this.weightsOf(phase / this.up, cutoff));
    this.rest = new Float32Array(this.half - 1);   // silence before the first
    this.index = this.phase = 0;                   // of the next sample to make, in `rest`
  }

  weightsOf(offset, cutoff) {
    const {half} = this;
    const out = Float64Array.from({length: 2 * half}, (_, k) => {
      const t = k - half + 1 - offset, x = Math.PI * t * cutoff, at = (Math.PI * t) / half;
      if (Math.abs(t) >= half) return 0;
      return (x === 0 ? 1 : Math.sin(x) / x) * (0.42 + 0.5 * Math.cos(at) + 0.08 * Math.cos(2 * at));
    });
    const sum = out.reduce((all, weight) => all + weight, 0);
    return out.map((weight) => weight / sum);
  }

  push(samples) {
    const all = new Float32Array(this.rest.length + samples.length), out = [];
    all.set(this.rest);
    all.set(samples, this.rest.length);
    while (this.index + 2 * this.half <= all.length) {
      const weights = this.weights[this.phase];
      let sum = 0;
      for (let k = 0; k < weights.length; ++k) sum += weights[k] * all[this.index + k];
      out.push(sum);
      this.phase += this.down;
      this.index += Math.floor(this.phase / this.up);
      this.phase %= this.up;
    }
    const known = Math.min(this.index, all.length);
    this.rest = all.slice(known);
    this.index -= known;
    return Float32Array.from(out);
  }

  /** What is left, as if silence followed. */
  finish() {
    return this.push(new Float32Array(this.half));
  }
}

/** The sound in a file's bytes (an ArrayBuffer) as this browser reads it, its channels averaged. Rejects where it cannot. */
export async function decodeClip(bytes) {
  const sound = await new OfflineAudioContext(1, 1, HEARD_HZ).decodeAudioData(bytes);
  const out = new Float32Array(sound.length);
  for (let c = 0; c < sound.numberOfChannels; ++c) {
    const channel = sound.getChannelData(c);
    for (let i = 0; i < out.length; ++i) out[i] += channel[i] / sound.numberOfChannels;
  }
  const clip = new Clip(HEARD_HZ);
  clip.push(toInt16(out));
  return clip;
}
