// The page: level, scores and hits of the microphone. Nothing that it hears leaves it.

import { Detector } from "./detector.js";
import { COLOURS, Curve, drawLevel } from "./drawing.js";
import { listen } from "./listen.js";

const MOST_HITS = 100;
const QUIETEST_DBFS = -99;
const $ = (id) => document.getElementById(id);

let detector, microphone, curve;
let count = 0, level = null;

function problem(text) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
}

const dbfs = (amplitude) => Math.max(QUIETEST_DBFS, 20 * Math.log10(amplitude));

function heard({ samples, time_s, score, dropped }) {
  const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
  level = [dbfs(Math.sqrt(power)), dbfs(samples.reduce((peak, sample) => Math.max(peak, Math.abs(sample)), 0))];
  if (!time_s.length) return;
  const now = time_s[time_s.length - 1];
  curve.add(detector.phrases.map((_, index) => time_s.map((time, frame) => [time, score[frame][index]])), now);
  const lost = dropped ? `, ${dropped} blocks dropped: this machine is too slow` : "";
  $("status").textContent = `${now.toFixed(0)} s heard${lost}`;
}

function hit(said) {
  curve.hit(said);
  $("count").textContent = ++count;
  const entry = document.createElement("li");
  const when = new Date().toLocaleTimeString();
  entry.textContent = `${when}  ${said.phrase}  ${said.score.toFixed(3)}  (${said.time_s.toFixed(2)} s)`;
  entry.dataset.phrase = said.phrase;
  entry.dataset.time = said.time_s;
  $("hits").prepend(entry);
  while ($("hits").children.length > MOST_HITS) $("hits").lastChild.remove();
}

async function start() {
  $("start").disabled = true;
  problem("");
  curve.clear();
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

function draw() {
  if (level) {
    drawLevel(document.querySelector("#level canvas"), ...level);
    document.querySelector("#level output").textContent = `${level[0].toFixed(0)} dBFS`;
    curve.draw();
    level = null;
  }
  requestAnimationFrame(draw);
}

$("start").onclick = () => (microphone ? stop() : start());
try {
  detector = await Detector.load();
  const phrases = detector.phrases.map((phrase, index) => ({ phrase, threshold: detector.thresholds[index] }));
  curve = new Curve($("curve"), phrases);
  $("phrases").replaceChildren(
    ...phrases.map(({ phrase, threshold }, index) => {
      const entry = document.createElement("li");
      entry.className = `colour${index % COLOURS.length}`;
      entry.textContent = `${phrase}, threshold ${threshold.toFixed(3)}`;
      return entry;
    }),
  );
  $("status").textContent = "The microphone is off.";
  $("start").disabled = false;
  requestAnimationFrame(draw);
} catch ({ message }) {
  $("status").textContent = "";
  problem(`The model cannot be loaded (${message}): serve the whole folder over http.`);
}
