// Blocks of a microphone's rate to 16 kHz: a Kaiser-windowed sinc, one set of weights for each phase.

import { SAMPLE_RATE } from "./detector.js";

// Flat to 7 kHz, 80 dB down from 8.3 kHz on; what is folded in between lies above the filters of the model.
const CROSSINGS = 32; // of the sinc, on each side
const BAND = 0.95; // of half the lower rate
const BETA = 8;

const divisor = (a, b) => (b ? divisor(b, a % b) : a);

// The modified Bessel function of order 0, by its series.
function bessel(x) {
  let term = 1, sum = 1;
  for (let k = 1; term > 1e-12 * sum; k++) sum += term *= (x / (2 * k)) ** 2;
  return sum;
}

export class Resampler {
  // `rate`: samples a second, a whole number.
  constructor(rate) {
    const common = divisor(rate, SAMPLE_RATE);
    this.phases = SAMPLE_RATE / common;
    this.advance = rate / common;
    const cutoff = BAND * Math.min(1, SAMPLE_RATE / rate); // of half the rate that comes in
    this.half = rate === SAMPLE_RATE ? 0 : Math.ceil(CROSSINGS / cutoff);
    this.weights = Array.from({ length: this.phases }, (_, phase) => this.phaseWeights(phase / this.phases, cutoff));
    this.heard = new Float32Array(this.half); // silence before the stream
    this.phase = 0;
  }

  phaseWeights(shift, cutoff) {
    if (!this.half) return Float64Array.of(1);
    const weights = Float64Array.from({ length: 2 * this.half + 1 }, (_, tap) => {
      const x = tap - this.half - shift;
      const inside = 1 - (x / (this.half + 1)) ** 2;
      const sinc = x === 0 ? 1 : Math.sin(Math.PI * cutoff * x) / (Math.PI * cutoff * x);
      return sinc * bessel(BETA * Math.sqrt(Math.max(0, inside)));
    });
    const sum = weights.reduce((total, each) => total + each, 0);
    return weights.map((each) => each / sum);
  }

  // Float32Array of any length in, Float32Array at 16 kHz out.
  process(samples) {
    const heard = new Float32Array(this.heard.length + samples.length);
    heard.set(this.heard);
    heard.set(samples, this.heard.length);
    const out = [];
    let first = 0;
    while (first + 2 * this.half < heard.length) {
      const weights = this.weights[this.phase];
      let sum = 0;
      for (let tap = 0; tap < weights.length; tap++) sum += weights[tap] * heard[first + tap];
      out.push(sum);
      this.phase += this.advance;
      first += Math.floor(this.phase / this.phases);
      this.phase %= this.phases;
    }
    this.heard = heard.slice(first);
    return Float32Array.from(out);
  }
}
