// The page: one websocket, to which the microphone's sound goes and from which comes what was heard.

import { openMicrophone, play } from "./microphone.js";
import { Panel, problem } from "./panel.js";
import { Recording } from "./recording.js";

const MOST_WAITING = 1 << 20; // bytes that the server has not taken yet: it is too slow, and sound is dropped
const $ = (id) => document.getElementById(id);

let socket, microphone, panel, recording;
let dropped = 0;

// The token is in a cookie by now: it need not stay in the address.
history.replaceState(null, "", "/");

function ask(what, more = {}) {
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ ask: what, ...more }));
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
    recording?.failed();
    problem(said.text);
  };
  if (said.tell !== "heard" && said.tell !== "hit") problem("");
  answers[said.tell]?.(said);
}

function hello({ phrases, recording: about }) {
  panel = new Panel(phrases);
  $("start").disabled = false;
  $("listening").hidden = !phrases.length;
  if (about) recording = new Recording(about, ask);
}

function heard({ time_s: time, rms_dbfs: rms, peak_dbfs: peak, scores }) {
  if (!microphone) return; // of what came before Stop
  panel.heard([rms, peak], scores, time, dropped ? `, ${dropped} blocks dropped: the server is too slow` : "");
}

const hit = (said) => panel.hit(said, new Date(said.utc));

const gone = () => socket.readyState > WebSocket.OPEN;

async function start() {
  $("start").disabled = true;
  try {
    let sending = false;
    const opened = await openMicrophone(
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
    if (gone()) return opened.close(); // while it was being opened
    microphone = opened;
    panel.curve.clear();
    ask("begin", { rate: microphone.rate });
    sending = true;
    $("start").textContent = "Stop the microphone";
    problem("");
  } catch (error) {
    if (gone()) return;
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

$("start").onclick = () => (microphone ? stop() : start());
connect();
