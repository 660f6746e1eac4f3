// Hears one stream: what wakeword.Detector does in Python, with the same hits at the same times.
//
// const detector = await Detector.load();
// for (const hit of await detector.process(samples)) console.log(hit.phrase, hit.time_s, hit.score);

import * as ort from "./runtime/ort.wasm.min.mjs";

// More threads need a page that its server isolates from others (COOP and COEP); a step takes about a millisecond.
ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = new URL("./runtime/", import.meta.url).href;

export const SAMPLE_RATE = 16000;
const MOST_STEPS = 250; // at once: memory does not grow with a recording
const TIME_TOLERANCE_S = 1e-6; // times are multiples of 0.04 s in binary floating point

async function fetched(name, folder) {
  const response = await fetch(new URL(name, folder));
  if (!response.ok) throw new Error(`${name}: ${response.status} ${response.statusText}`);
  return response;
}

// Refuses what a copy has damaged. Browsers have SHA-256 for pages of https and of the machine itself alone, and those
// alone have a microphone; elsewhere nothing is checked.
async function verify(name, content, sha256) {
  if (!sha256 || !globalThis.crypto?.subtle) return;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  const found = Array.from(digest, (each) => each.toString(16).padStart(2, "0")).join("");
  if (found !== sha256) throw new Error(`${name}: damaged: it has not the checksum that it was written with: copy it again`);
}

// Fires when the score reaches the threshold, once an excursion and once in the refractory time.
class Trigger {
  constructor(refractory_s) {
    this.wait = refractory_s - TIME_TOLERANCE_S;
    this.reset();
  }

  reset() {
    this.armed = true;
    this.last_s = -Infinity;
  }

  step(time_s, score, threshold) {
    const above = score >= threshold;
    const fires = above && this.armed && time_s - this.last_s >= this.wait;
    if (fires) this.last_s = time_s;
    this.armed = !above || (this.armed && !fires);
    return fires;
  }
}

export class Detector {
  // `folder` holds model.json and model.onnx.
  static async load(folder = new URL("./", import.meta.url)) {
    const about = await (await fetched("model.json", folder)).json();
    const graph = await (await fetched("model.onnx", folder)).arrayBuffer();
    await verify("model.onnx", graph, about.sha256);
    return new Detector(about, await ort.InferenceSession.create(new Uint8Array(graph)));
  }

  constructor(about, session) {
    const { phrases, smoothing_frames: smoothing, refractory_s, features } = about.meta;
    this.phrases = phrases.map(({ phrase }) => phrase);
    this.thresholds = phrases.map(({ threshold }) => threshold); // may be set
    this.smoothing = smoothing;
    this.frame_s = about.step_samples / features.sample_rate;
    this.stepSamples = about.step_samples;
    this.shapes = about.states;
    this.session = session;
    this.triggers = phrases.map(() => new Trigger(refractory_s));
    this.turn = Promise.resolve();
    this.begin();
  }

  // A new stream.
  reset() {
    return this.inTurn(() => this.begin());
  }

  // What a block completes: the seconds of stream after which each score is known, and for each an array with the
  // averaged posterior of every phrase. `samples`: Float32Array in [-1, 1], 16 kHz, one channel, of any length.
  scores(samples) {
    const own = Float32Array.from(samples, (sample) => (Number.isFinite(sample) ? sample : 0));
    return this.inTurn(() => this.hear(own));
  }

  // The hits in a block, in order of time: [{ phrase, time_s, score }].
  process(samples) {
    return this.scores(samples).then((heard) => this.hitsIn(heard));
  }

  // The hits in what `scores` gave, each block's once and in order.
  hitsIn({ time_s, score }) {
    const hits = [];
    time_s.forEach((time, frame) =>
      this.phrases.forEach((phrase, index) => {
        const value = score[frame][index];
        if (this.triggers[index].step(time, value, this.thresholds[index])) hits.push({ phrase, time_s: time, score: value });
      }),
    );
    return hits;
  }

  begin() {
    this.waiting = new Float32Array(0);
    this.frames = 0;
    this.recent = Array.from({ length: this.smoothing - 1 }, () => this.phrases.map(() => 0));
    this.states = {};
    for (const [name, shape] of Object.entries(this.shapes)) {
      const zeros = new Float32Array(shape.reduce((product, size) => product * size, 1));
      this.states[name] = new ort.Tensor("float32", zeros, shape);
    }
    for (const trigger of this.triggers) trigger.reset();
  }

  // A session runs one step at a time, and each needs the states that the one before left.
  inTurn(work) {
    const done = this.turn.then(work);
    this.turn = done.catch(() => {});
    return done;
  }

  async hear(samples) {
    const heard = new Float32Array(this.waiting.length + samples.length);
    heard.set(this.waiting);
    heard.set(samples, this.waiting.length);
    const ready = heard.length - (heard.length % this.stepSamples);
    this.waiting = heard.slice(ready);
    const found = { time_s: [], score: [] };
    for (let at = 0; at < ready; at += MOST_STEPS * this.stepSamples) {
      const posteriors = await this.run(heard.slice(at, Math.min(ready, at + MOST_STEPS * this.stepSamples)));
      for (let first = 0; first < posteriors.length; first += this.phrases.length) {
        found.time_s.push(this.frame_s * ++this.frames);
        found.score.push(this.averaged(Array.from(posteriors.subarray(first, first + this.phrases.length))));
      }
    }
    return found;
  }

  async run(samples) {
    const inputs = { samples: new ort.Tensor("float32", samples, [1, samples.length]), ...this.states };
    const outputs = await this.session.run(inputs);
    for (const name of Object.keys(this.shapes)) this.states[name] = outputs[`next_${name}`];
    return outputs.posterior.data;
  }

  // In float32, in the order of the Python detector, so that the same posteriors give the same score.
  averaged(posteriors) {
    this.recent.push(posteriors);
    const sums = this.phrases.map((_, index) => this.recent.reduce((sum, each) => Math.fround(sum + each[index]), 0));
    this.recent.shift();
    return sums.map((sum) => Math.fround(sum / this.smoothing));
  }
}
