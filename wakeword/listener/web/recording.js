// Guided recording: a count-down, one clip, the server's verdict, and what is done with it; and the clips there are.

const COUNT_MS = 600;
const LATE_S = 5;
const $ = (id) => document.getElementById(id);
const wait = (ms) => new Promise((done) => setTimeout(done, ms));

export class Recording {
  constructor(about, ask) {
    this.about = about;
    this.ask = ask;
    this.running = this.keeping = false;
    $("recording").hidden = false;
    $("phrase").textContent = about.phrase;
    $("folder").textContent = about.folder + (about.speaker ? `, speaker ${about.speaker}` : "");
    $("record").onclick = () => this.record();
    $("keep").onclick = () => this.decide("keep");
    $("drop").onclick = () => this.decide("drop");
    $("listen").onclick = () => ask("play");
    this.offer(false);
    ask("clips");
  }

  async record() {
    if (this.running) return;
    this.running = true;
    this.offer(false);
    $("record").disabled = true;
    this.verdict("");
    for (const left of ["3", "2", "1"]) {
      this.cue(left);
      await wait(COUNT_MS);
      if (!this.running) return;
    }
    this.cue(`now: ${this.about.phrase}`, true);
    this.ask("record");
    const begin = performance.now();
    while (this.running) {
      const passed = (performance.now() - begin) / 1000;
      $("progress").value = Math.min(1, passed / this.about.seconds);
      if (passed > this.about.seconds + LATE_S) {
        this.ask("drop");
        this.stop();
        this.verdict("no sound came: is the microphone still there?", true);
      }
      await wait(50);
    }
  }

  stop() {
    this.running = false;
    this.cue("");
    $("progress").value = 0;
    $("record").disabled = false;
    $("record").textContent = "Record";
  }

  // Something went wrong. A take that could not be kept is still with the server, for another try.
  failed() {
    this.stop();
    if (this.keeping) this.offer(true);
    this.keeping = false;
  }

  // The server has the whole take, and says whether it is good.
  take({ problem, peak_dbfs: peak }) {
    this.stop();
    this.verdict(problem ?? `good (peak ${peak.toFixed(0)} dBFS)`, Boolean(problem));
    this.offer(true);
    $("keep").textContent = problem ? "Keep all the same" : "Keep";
    $("record").textContent = "Record again";
    $(problem ? "record" : "keep").focus();
  }

  decide(what) {
    this.keeping = what === "keep";
    this.ask(what);
    this.offer(false);
    this.verdict("");
    $("record").textContent = "Record";
    $("record").focus();
  }

  kept(name) {
    this.keeping = false;
    this.verdict(`kept as ${name}`);
  }

  list(names) {
    $("clip-count").textContent = names.length;
    $("clips").replaceChildren(...names.reverse().map((name) => this.entry(name)));
  }

  entry(name) {
    const entry = document.createElement("li");
    entry.append(name);
    const listen = button("listen", () => this.ask("play", { clip: name }));
    const remove = button("delete", () => {
      if (remove.textContent === "delete") remove.textContent = "really?";
      else this.ask("delete", { clip: name });
    });
    remove.onblur = () => (remove.textContent = "delete");
    entry.append(listen, remove);
    return entry;
  }

  offer(there) {
    for (const id of ["keep", "listen", "drop"]) $(id).disabled = !there;
  }

  cue(text, now = false) {
    $("cue").textContent = text;
    $("cue").className = now ? "now" : "";
  }

  verdict(text, bad = false) {
    $("verdict").textContent = text;
    $("verdict").className = bad ? "bad" : "";
  }
}

function button(text, onclick) {
  const made = document.createElement("button");
  made.textContent = text;
  made.onclick = onclick;
  return made;
}
