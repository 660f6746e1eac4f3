// What a page shows of listening: a problem, the phrases, level and scores, and the last hits.

import { COLOURS, Curve, drawLevel } from "./drawing.js";

const MOST_HITS = 100;
const $ = (id) => document.getElementById(id);

export function problem(text) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
}

export class Panel {
  constructor(phrases) {
    this.curve = new Curve($("curve"), phrases);
    this.count = 0;
    this.level = null;
    $("phrases").replaceChildren(
      ...phrases.map(({ phrase, model, threshold }, index) => {
        const entry = document.createElement("li");
        entry.className = `colour${index % COLOURS.length}`;
        if (model) entry.title = model;
        entry.textContent = `${phrase}, threshold ${threshold.toFixed(3)}`;
        return entry;
      }),
    );
    const draw = () => {
      this.draw();
      requestAnimationFrame(draw);
    };
    requestAnimationFrame(draw);
  }

  // `level` is [rms, peak] in dBFS; `scores` has the points [time, score] of each phrase; `lost` says what was, if anything.
  heard(level, scores, time_s, lost) {
    this.level = level;
    this.curve.add(scores, time_s);
    $("status").textContent = `${time_s.toFixed(0)} s heard${lost}`;
  }

  hit(said, when) {
    this.curve.hit(said);
    $("count").textContent = ++this.count;
    const entry = document.createElement("li");
    entry.textContent = `${when.toLocaleTimeString()}  ${said.phrase}  ${said.score.toFixed(3)}  (${said.time_s.toFixed(2)} s)`;
    if (said.model) entry.title = said.model;
    entry.dataset.phrase = said.phrase;
    entry.dataset.time = said.time_s;
    $("hits").prepend(entry);
    while ($("hits").children.length > MOST_HITS) $("hits").lastChild.remove();
  }

  draw() {
    if (!this.level) return;
    drawLevel(document.querySelector("#level canvas"), ...this.level);
    document.querySelector("#level output").textContent = `${this.level[0].toFixed(0)} dBFS`;
    this.curve.draw();
    this.level = null;
  }
}
