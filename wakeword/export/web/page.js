// The page: level, scores and hits of the microphone. Nothing that it hears leaves it.

import { Detector } from "./detector.js";
import { listen } from "./listen.js";
import { Panel, problem } from "./panel.js";

const QUIETEST_DBFS = -99;
const $ = (id) => document.getElementById(id);

let detector, microphone, panel;

const dbfs = (amplitude) => Math.max(QUIETEST_DBFS, 20 * Math.log10(amplitude));

function heard({ samples, time_s, score, dropped }) {
  if (!time_s.length) return;
  const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
  const level = [dbfs(Math.sqrt(power)), dbfs(samples.reduce((peak, sample) => Math.max(peak, Math.abs(sample)), 0))];
  const scores = detector.phrases.map((_, index) => time_s.map((time, frame) => [time, score[frame][index]]));
  const lost = dropped ? `, ${dropped} blocks dropped: this machine is too slow` : "";
  panel.heard(level, scores, time_s[time_s.length - 1], lost);
}

const hit = (said) => panel.hit(said, new Date());

async function start() {
  $("start").disabled = true;
  problem("");
  panel.curve.clear();
  try {
    const end = () => {
      stop();
      problem("The microphone was lost: connect it and start it again.");
    };
    const error = ({ message }) => {
      stop();
      problem(`The model failed (${message}): load the page again.`);
    };
    microphone = await listen(detector, { hit, heard, end, error });
    $("start").textContent = "Stop the microphone";
  } catch ({ message }) {
    problem(`The microphone cannot be opened (${message}): connect one, and allow this page (https or localhost) to use it.`);
  }
  $("start").disabled = false;
}

function stop() {
  microphone?.close();
  microphone = undefined;
  $("start").textContent = "Start the microphone";
  $("status").textContent = "The microphone is off.";
}

$("start").onclick = () => (microphone ? stop() : start());
try {
  detector = await Detector.load();
  panel = new Panel(detector.phrases.map((phrase, index) => ({ phrase, threshold: detector.thresholds[index] })));
  $("status").textContent = "The microphone is off.";
  $("start").disabled = false;
} catch ({ message }) {
  $("status").textContent = "";
  problem(`The model cannot be loaded (${message}): serve the whole folder over http.`);
}
