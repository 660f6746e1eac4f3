// The level, and each phrase's score against its threshold.

export const COLOURS = ["#1f77b4", "#ff7f0e", "#2ca02c", "#9467bd", "#17becf"];
const SHOWN_S = 10;
const QUIETEST = -60;
const LOWEST = 0.001; // and the highest is as near to 1
const MARKED = [0.01, 0.1, 0.5, 0.9, 0.99];

// Scores are shown by their logit: thresholds lie near 0 or 1 as often as between, and would be lost in the frame.
const logit = (score) => Math.log(score / (1 - score));
const height01 = (score) => 0.5 + logit(Math.max(LOWEST, Math.min(1 - LOWEST, score))) / logit(1 - LOWEST) / 2;

function prepared(canvas) {
  const scale = window.devicePixelRatio || 1;
  const height = Number(canvas.dataset.height ??= canvas.height);
  canvas.width = Math.max(1, Math.round(canvas.clientWidth * scale));
  canvas.height = Math.round(height * scale);
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  return [pen, canvas.clientWidth, height];
}

export function drawLevel(canvas, rms, peak) {
  const [pen, width, height] = prepared(canvas);
  const at = (dbfs) => width * Math.max(0, Math.min(1, 1 - dbfs / QUIETEST));
  pen.fillStyle = peak > -1 ? "#d62728" : "#2ca02c";
  pen.fillRect(0, 0, at(rms), height);
  pen.fillRect(at(peak) - 2, 0, 2, height);
}

export class Curve {
  constructor(canvas, phrases) {
    this.canvas = canvas;
    this.phrases = phrases;
    this.clear();
  }

  clear() {
    this.points = this.phrases.map(() => []);
    this.hits = [];
    this.now = 0;
  }

  add(scores, now) {
    this.now = now;
    scores.forEach((some, index) => this.points[index].push(...some));
    for (const points of this.points) {
      while (points.length && points[0][0] < now - SHOWN_S - 1) points.shift();
    }
    this.hits = this.hits.filter((hit) => hit.time_s > now - SHOWN_S);
  }

  hit(hit) {
    this.hits.push(hit);
  }

  draw() {
    const [pen, width, height] = prepared(this.canvas);
    const x = (time) => width * (1 - (this.now - time) / SHOWN_S);
    const y = (score) => 3 + (height - 6) * (1 - height01(score));
    pen.strokeStyle = pen.fillStyle = "#8888";
    for (const mark of MARKED) pen.fillText(mark, 4, y(mark) + 4);
    for (const hit of this.hits) line(pen, [[x(hit.time_s), 0], [x(hit.time_s), height]]);
    this.phrases.forEach((phrase, index) => {
      pen.strokeStyle = COLOURS[index % COLOURS.length];
      pen.lineWidth = 1;
      pen.setLineDash([4, 4]);
      line(pen, [[0, y(phrase.threshold)], [width, y(phrase.threshold)]]);
      pen.setLineDash([]);
      pen.lineWidth = 2;
      line(pen, this.points[index].map(([time, score]) => [x(time), y(score)]));
    });
  }
}

function line(pen, points) {
  pen.beginPath();
  for (const [x, y] of points) pen.lineTo(x, y);
  pen.stroke();
}
