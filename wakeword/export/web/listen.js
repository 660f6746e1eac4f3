// A microphone to a detector.
//
// const microphone = await listen(detector, { hit: (hit) => console.log(hit.phrase) });
// microphone.close();

import { openMicrophone } from "./microphone.js";
import { Resampler } from "./resampler.js";

const MOST_WAITING = 60; // blocks of 80 ms: the machine is too slow, and sound is dropped

// Calls `hit` for each hit; `heard` for each block, with its samples (Float32Array, 16 kHz), what `detector.scores`
// gave and how many blocks were dropped so far; `end` when the microphone is lost; `error` if the model fails. After
// `close()` none of them is called, and blocks that still wait are not heard. The detector begins a new stream.
export async function listen(detector, { hit, heard, end, error = console.error } = {}) {
  await detector.reset();
  let resampler, waiting = 0, dropped = 0, closed = false, turn = Promise.resolve();

  async function hear(block) {
    waiting -= 1;
    if (closed) return;
    try {
      const samples = resampler.process(Float32Array.from(new Int16Array(block), (sample) => sample / 32768));
      const scores = await detector.scores(samples);
      if (closed) return; // before `hitsIn`: the detector may be in its next stream
      heard?.({ samples, ...scores, dropped });
      for (const each of detector.hitsIn(scores)) if (!closed) hit?.(each);
    } catch (problem) {
      if (!closed) error(problem);
    }
  }

  const microphone = await openMicrophone(
    (block) => {
      if (!resampler || closed) return; // without a resampler, the rate is not known yet
      if (waiting >= MOST_WAITING) {
        dropped += 1;
        return;
      }
      waiting += 1;
      turn = turn.then(() => hear(block)).catch(console.error);
    },
    () => end?.(),
  );
  resampler = new Resampler(microphone.rate);
  return {
    ...microphone,
    close() {
      closed = true;
      microphone.close();
    },
  };
}
