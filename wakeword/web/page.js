// The page: one websocket, to which the microphone's sound goes and from which comes what was heard.

import { COLOURS, Curve, drawLevel } from "./drawing.js";
import { openMicrophone, play } from "./microphone.js";
import { Recording } from "./recording.js";

const MOST_WAITING = 1 << 20; // bytes that the server has not taken yet: it is too slow, and sound is dropped
const MOST_HITS = 100;
const $ = (id) => document.getElementById(id);

let socket, microphone, curve, recording;
let dropped = 0, count = 0, level = null;

// The token is in a cookie by now: it need not stay in the address.
history.replaceState(null, "", "/");

function ask(what, more = {}) {
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ ask: what, ...more }));
}

function problem(text) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
}

function connect() {
  socket = new WebSocket(`ws://${location.host}/socket`);
  socket.binaryType = "arraybuffer";
  socket.onmessage = ({ data }) => (typeof data === "string" ? told(JSON.parse(data)) : play(data));
  socket.onclose = ({ reason }) => {
    stop();
    $("start").disabled = true;
    problem(`The server is gone${reason ? `: ${reason}` : ""}. Start it again, and open the address that it prints.`);
  };
}

function told(said) {
  const answers = { hello, heard, hit, take: () => recording.take(said), kept: () => recording.kept(said.clip) };
  answers.clips = () => recording.list(said.clips);
  answers.problem = () => {
    recording?.stop();
    problem(said.text);
  };
  if (said.tell !== "heard" && said.tell !== "hit") problem("");
  answers[said.tell]?.(said);
}

function hello({ phrases, recording: about }) {
  curve = new Curve($("curve"), phrases);
  $("listening").hidden = !phrases.length;
  $("phrases").replaceChildren(
    ...phrases.map(({ phrase, model, threshold }, index) => {
      const entry = document.createElement("li");
      entry.className = `colour${index % COLOURS.length}`;
      entry.title = model;
      entry.textContent = `${phrase}, threshold ${threshold.toFixed(3)}`;
      return entry;
    }),
  );
  if (about) recording = new Recording(about, ask);
}

function heard({ time_s: time, rms_dbfs: rms, peak_dbfs: peak, scores }) {
  level = [rms, peak];
  curve.add(scores, time);
  const lost = dropped ? `, ${dropped} blocks dropped: the server is too slow` : "";
  $("status").textContent = `${time.toFixed(0)} s heard${lost}`;
}

function hit(said) {
  curve.hit(said);
  $("count").textContent = ++count;
  const entry = document.createElement("li");
  const when = new Date(said.utc).toLocaleTimeString();
  entry.textContent = `${when}  ${said.phrase}  ${said.score.toFixed(3)}  (${said.time_s.toFixed(2)} s)`;
  entry.title = said.model;
  entry.dataset.phrase = said.phrase;
  $("hits").prepend(entry);
  while ($("hits").children.length > MOST_HITS) $("hits").lastChild.remove();
}

async function start() {
  $("start").disabled = true;
  try {
    let sending = false;
    microphone = await openMicrophone(
      (block) => {
        if (!sending) return;
        if (socket.bufferedAmount > MOST_WAITING) dropped += 1;
        else if (socket.readyState === WebSocket.OPEN) socket.send(block);
      },
      () => {
        stop();
        problem("The microphone was lost: connect it and start it again.");
      },
    );
    curve.clear();
    ask("begin", { rate: microphone.rate });
    sending = true;
    $("start").textContent = "Stop the microphone";
    problem("");
  } catch (error) {
    problem(`The microphone cannot be opened (${error.message}): connect one, and allow this page to use it.`);
  }
  $("start").disabled = false;
}

function stop() {
  if (microphone) ask("end");
  microphone?.close();
  microphone = undefined;
  recording?.stop();
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
connect();
requestAnimationFrame(draw);
