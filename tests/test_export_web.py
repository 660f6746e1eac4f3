"""The web export in a headless Chromium: against the Python detector, offline and by a microphone that plays a file."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("websockets")

from browser import Browser  # noqa: E402
from browser import program as chromium  # noqa: E402
from documented import DOCS, command, program  # noqa: E402

from wakeword import Detector  # noqa: E402
from wakeword.audio.waveform import write_wav  # noqa: E402
from wakeword.cli import main  # noqa: E402
from wakeword.errors import ModelError  # noqa: E402
from wakeword.export import web_writer  # noqa: E402
from wakeword.export.web_host import web_host  # noqa: E402
from wakeword.features.log_mel import FeatureSettings  # noqa: E402
from wakeword.head.transfer import load_wakeword  # noqa: E402
from wakeword.model.checkpoint import rewrite_meta  # noqa: E402

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "node_modules" / web_writer.RUNTIME
PERIOD_S, BURSTS_S = 4.0, (0.5, 1.9)
LATE_S = 90

needs_runtime = pytest.mark.skipif(
    not PACKAGE.is_dir(),
    reason=f"NO ONNX RUNTIME WEB: not run (npm install --no-save {web_writer.RUNTIME}@{web_writer.RUNTIME_VERSION})",
)
needs_browser = pytest.mark.skipif(
    chromium() is None, reason="NO CHROMIUM: the web export did not run (apt-get install chromium-headless-shell)"
)

# Any number of samples, in blocks, each after the other's answer; then again, all blocks at once.
OFFLINE = """
(async () => {
  const { Detector } = await import(new URL("detector.js", location.href));
  const detector = await Detector.load();
  const bytes = Uint8Array.from(atob("%s"), (each) => each.charCodeAt(0));
  const samples = new Float32Array(bytes.buffer);
  const ends = %s;
  const blocks = ends.map((end, index) => samples.subarray(ends[index - 1] ?? 0, end));
  const found = { phrases: detector.phrases, time_s: [], score: [] };
  for (const block of blocks) {
    const { time_s, score } = await detector.scores(block);
    found.time_s.push(...time_s);
    found.score.push(...score);
  }
  detector.reset();
  found.hits = (await Promise.all(blocks.map((block) => detector.process(block)))).flat();
  return found;
})()
"""
HITS = """
(async () => {
  const { Detector } = await import(new URL("detector.js", location.href));
  return (await Detector.load()).hitsIn(%s);
})()
"""
LOADED = """
(async () => {
  const { Detector } = await import(new URL("detector.js", location.href));
  return Detector.load(new URL("%s", location.href)).then(() => "loaded", (error) => error.message);
})()
"""
RESAMPLED = """
(async () => {
  const { Resampler } = await import(new URL("resampler.js", location.href));
  const resampler = new Resampler(%d), out = [];
  const tone = Float32Array.from({ length: %d }, (_, n) => Math.sin(2 * Math.PI * %f * n / %d));
  for (let at = 0; at < tone.length; at += 777) out.push(...resampler.process(tone.subarray(at, at + 777)));
  return out;
})()
"""
# A detector that is slow while blocks of the microphone come in, then quick; with thresholds that all scores reach.
CLOSED = """
(async () => {
  const { Detector } = await import(new URL("detector.js", location.href));
  const { listen } = await import(new URL("listen.js", location.href));
  const wait = (ms) => new Promise((done) => setTimeout(done, ms));
  const detector = await Detector.load();
  detector.thresholds.fill(0);
  let asked = 0, told = 0, open;
  const quick = new Promise((done) => (open = done)), scores = detector.scores.bind(detector);
  detector.scores = async (samples) => {
    asked += 1;
    await quick;
    return scores(samples);
  };
  const tell = { hit: () => (told += 1), heard: () => (told += 1), error: () => (told += 1) };
  const first = await listen(detector, tell);
  while (!asked) await wait(20);
  await wait(500);
  first.close();
  const before = asked;
  open();
  await wait(1000);
  const found = { before, after: asked, told, hits: 0 };
  const second = await listen(detector, { hit: () => (found.hits += 1) });
  while (!found.hits) await wait(20);
  second.close();
  return found;
})()
"""
FAILING = """
AudioWorklet.prototype.addModule = () => Promise.reject(new Error("not today"));
window.opened = [];
const get = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = async (asked) => {
  const stream = await get(asked);
  window.opened.push(...stream.getTracks());
  return stream;
};
"""

SHOWN = """
[...document.querySelectorAll("#hits li")].reverse().map(({ dataset }) => [Number(dataset.time), dataset.phrase])
"""


@pytest.fixture(scope="module")
def played(speech_like) -> np.ndarray:
    """What the microphone plays again and again: two bursts in a silent room."""
    room = 3e-4 * np.random.default_rng(0).standard_normal(round(PERIOD_S * 16000))
    for seconds, seed, at_s in ((0.8, 65, BURSTS_S[0]), (1.0, 79, BURSTS_S[1])):
        burst, at = speech_like(seconds, seed), round(at_s * 16000)
        room[at : at + len(burst)] += 0.5 * burst / np.abs(burst).max()
    return room.astype(np.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory, several_files, played) -> Path:
    """A model of three phrases, with thresholds between what it gives for the bursts and for the room."""
    path = tmp_path_factory.mktemp("web") / "demo" / "computer.wakeword"
    path.parent.mkdir()
    path.write_bytes(several_files[0].read_bytes())
    time_s, score = Detector.load(path).scores(np.tile(played, 3))
    at_s = time_s % PERIOD_S
    later, (first, second) = time_s > PERIOD_S, BURSTS_S
    quiet = score[later & ((at_s < first) | (at_s > PERIOD_S - 0.4))].max(axis=0)
    bursts = [score[later & span].max(axis=0) for span in ((at_s > first) & (at_s < second), at_s > second)]
    threshold = (quiet + np.minimum(*bursts)) / 2
    assert (np.minimum(*bursts) - threshold > 0.02).sum() > 1, "too few phrases tell bursts and room apart"
    phrases = load_wakeword(path)[1]["phrases"]
    said = [{**each, "threshold": float(one)} for each, one in zip(phrases, threshold, strict=True)]
    rewrite_meta(path, {"phrases": said})
    return path


@pytest.fixture(scope="module")
def page(model, tmp_path_factory) -> str:
    """The address at which the exported folder is served, both by the commands of docs/export.md."""
    folder = model.parents[1] / "computer-web"
    arguments = command("wakeword export .* --format web")[1:]
    places = {"demo/computer.wakeword": str(model), "computer-web/": str(folder)}
    assert set(places) < set(arguments)
    assert main([*(places.get(each, each) for each in arguments), "--runtime", str(PACKAGE)]) == 0
    (folder / "hey.html").write_text(program("computer-web/hey.html", "html"))
    serve = command("python3 -m http.server")[1:]
    serve = [{"8000": "0", "computer-web/": str(folder)}.get(each, each) for each in serve]
    with subprocess.Popen(
        [sys.executable, "-u", *serve], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        yield re.search(r"http://[\d.:]+", server.stdout.readline())[0]
        server.kill()


@pytest.fixture(scope="module")
def browser(tmp_path_factory, played) -> Browser:
    folder = tmp_path_factory.mktemp("browser")
    write_wav(folder / "microphone.wav", played)
    with Browser(folder, folder / "microphone.wav") as opened:
        yield opened


@needs_runtime
@needs_browser
@pytest.mark.parametrize("most", [12 * 16000, 3000])
def test_scores_and_hits_are_those_of_python(page, browser, model, speech_like, played, most):
    samples = np.concatenate([speech_like(4, 3), np.tile(played, 2)])
    samples[1000:1010] = np.nan
    ends = np.cumsum(np.random.default_rng(most).integers(0, most, 4 * len(samples) // most)).clip(max=len(samples))
    ends = [0, 1, *map(int, ends), len(samples)]
    detector = Detector.load(model)
    time_s, score = detector.scores(samples)
    hits = detector.hits_in(time_s, score)
    assert len(hits) > 4 and len({hit.phrase for hit in hits}) > 1, "too few hits to compare"

    browser.open(f"{page}/index.html")
    found = browser.run(OFFLINE % (base64.b64encode(samples.tobytes()).decode(), ends))
    assert tuple(found["phrases"]) == detector.phrases
    np.testing.assert_array_equal(found["time_s"], time_s)
    np.testing.assert_allclose(found["score"], score, rtol=0, atol=1e-4)
    assert [(hit["phrase"], hit["time_s"]) for hit in found["hits"]] == [(hit.phrase, hit.time_s) for hit in hits]


@needs_runtime
@needs_browser
def test_scores_of_any_course_give_the_hits_of_python(page, browser, model):
    """Excursions of 1 to 60 frames, some longer than the refractory time, some that begin in it or end with it."""
    rng, frames = np.random.default_rng(0), 12000
    lengths = rng.choice([1, 1, 2, 24, 24, 25, 26, 60], (3, frames))
    score = np.stack([np.repeat(np.arange(frames) % 2, each)[:frames] for each in lengths], axis=1) * 0.999
    score[rng.integers(0, frames, 40)] = np.nan
    time_s = 0.04 * (1 + np.arange(frames))
    hits = Detector.load(model).hits_in(time_s, score.astype(np.float32))
    assert len(hits) > 100

    browser.open(f"{page}/index.html")
    course = [[None if each != each else each for each in row] for row in score.tolist()]
    found = browser.run(HITS % json.dumps({"time_s": time_s.tolist(), "score": course}).replace("null", "NaN"))
    assert [(hit["phrase"], hit["time_s"]) for hit in found] == [(hit.phrase, hit.time_s) for hit in hits]


@needs_runtime
@needs_browser
def test_the_microphone_gives_the_hits_of_its_file(page, browser, model, played):
    detector = Detector.load(model)
    periods = 6
    steady = [hit for hit in detector.process(np.tile(played, periods)) if hit.time_s > PERIOD_S]
    expected = sorted((hit.time_s % PERIOD_S, hit.phrase) for hit in steady if hit.time_s <= 2 * PERIOD_S)
    assert len(expected) > 3 and len(steady) == (periods - 1) * len(expected), "not the same in every period"

    asked = len(browser.requests)
    browser.open(f"{page}/index.html")
    browser.click("start")
    deadline, heard = time.monotonic() + LATE_S, []
    # A machine that is too busy loses sound here and there: two periods on end must be whole.
    while time.monotonic() < deadline and not two_periods(heard, expected):
        time.sleep(1)
        heard = browser.run(SHOWN)
    assert two_periods(heard, expected), (heard, expected)
    assert int(browser.text("count")) >= len(heard) and "threshold" in browser.text("phrases")
    assert browser.run("document.getElementById('problem').hidden")
    assert browser.run(
        "document.getElementById('curve').getContext('2d').getImageData(0, 0, 400, 200).data.some(x => x)"
    )
    browser.click("start")
    browser.until("document.getElementById('status').innerText.includes('off')")
    assert not browser.errors
    assert asked < len(browser.requests) and all(each.startswith(page) for each in browser.requests[asked:])


def two_periods(heard: list, expected: list) -> bool:
    """Whether two periods on end of what was heard, `[[time_s, phrase]]`, have just the expected hits within 0.2 s."""
    wanted = sorted((phrase, at + more) for at, phrase in expected for more in (0, PERIOD_S))
    for begin in {time_s - at for time_s, phrase in heard for at, named in expected if named == phrase}:
        found = sorted((phrase, time_s - begin) for time_s, phrase in heard if 0 <= time_s - begin < 2 * PERIOD_S)
        if [phrase for phrase, _ in found] == [phrase for phrase, _ in wanted] and np.allclose(
            [at for _, at in found], [at for _, at in wanted], rtol=0, atol=0.2
        ):
            return True
    return False


@needs_runtime
@needs_browser
def test_nothing_is_heard_after_close(page, browser):
    browser.open(f"{page}/index.html")
    found = browser.run(CLOSED)
    assert found["after"] == found["before"] > 0 and found["told"] == 0, found
    assert found["hits"] > 0, "the thresholds were not reached: nothing was shown"


@needs_runtime
@needs_browser
def test_a_microphone_that_cannot_be_used_is_not_left_open(page, browser):
    browser.open(f"{page}/index.html")
    browser.until("!document.getElementById('start').disabled")
    browser.run(FAILING)
    browser.click("start")
    browser.until("!document.getElementById('problem').hidden")
    assert "not today" in browser.text("problem")
    assert browser.run("window.opened.map((track) => track.readyState)") == ["ended"]
    browser.open("about:blank")  # the others shall have the browser's own functions


@needs_runtime
@needs_browser
@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
def test_a_microphones_rate_becomes_16_khz(page, browser, rate):
    browser.open(f"{page}/index.html")
    for hz in (100.0, 1234.5, min(6900.0, 0.43 * rate), 9000.0):
        if hz > rate / 2:
            continue
        out = np.array(browser.run(RESAMPLED % (rate, rate // 2, hz, rate)))
        assert abs(len(out) - 8000) < 300
        out, wanted = out[500:7500], np.sin(2 * np.pi * hz / 16000 * np.arange(500, 7500)) * (hz < 8000)
        np.testing.assert_allclose(out, wanted, rtol=0, atol=2e-3)


@needs_runtime
@needs_browser
def test_the_example_of_the_documentation_hears(page, browser):
    browser.open(f"{page}/hey.html")
    browser.click("start")
    browser.until("/(one|two|three) 0\\.\\d\\d/.test(document.getElementById('hits').innerText)")


def with_a_wrong_weight(folder: Path) -> None:
    """Damage an exported folder's graph such that it can still be run."""
    path = folder / "model.onnx"
    content = path.read_bytes()
    path.write_bytes(
        content[: len(content) // 2] + bytes([content[len(content) // 2] ^ 1]) + content[len(content) // 2 + 1 :]
    )


@needs_runtime
@needs_browser
def test_a_damaged_graph_is_refused_by_the_page(page, browser, model):
    folder = model.parents[1] / "computer-web"
    for name in ("whole", "damaged"):
        (folder / name).mkdir()
        for file in ("model.json", "model.onnx"):
            shutil.copy(folder / file, folder / name / file)
    with_a_wrong_weight(folder / "damaged")
    browser.open(f"{page}/index.html")
    assert [browser.run(LOADED % name) for name in ("whole/", "damaged/")] == [
        "loaded",
        "model.onnx: damaged: it has not the checksum that it was written with: copy it again",
    ]


def test_a_damaged_folder_is_refused_here(several_files, tmp_path):
    web_writer.export_web(several_files[0], tmp_path / "web", pretended(tmp_path / "runtime"))
    folder, about = tmp_path / "web", json.loads((tmp_path / "web" / "model.json").read_text())
    assert web_host(folder).phrases == ("one", "two", "three")
    for name in about["states"]:
        lacking = {key: shape for key, shape in about["states"].items() if key != name}
        for states in (lacking, {**about["states"], name: [1, 3]}, None, [name]):
            (folder / "model.json").write_text(json.dumps({**about, "states": states}))
            with pytest.raises(ModelError, match="a damaged one"):
                web_host(folder)
    (folder / "model.json").write_text(json.dumps(about))
    with_a_wrong_weight(folder)
    with pytest.raises(ModelError, match=r"model\.onnx: damaged: .* checksum"):
        web_host(folder)


def test_a_graph_from_samples_is_the_model(several_files, small_model, wake_meta):
    """Also where windows do not overlap, and not with other features."""
    onnxruntime = pytest.importorskip("onnxruntime")
    wake, meta = load_wakeword(several_files[0])
    for changes, most in (({}, 1e-5), ({"window": 160, "fft": 256}, 1e-5), ({"floor": 1e-3}, 1e-5)):
        settings = FeatureSettings(**{**meta["features"], **changes})
        graph, states = web_writer.web_proto(wake, settings)
        session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
        said = {**meta, "features": vars(settings)}
        assert web_writer.apart(wake, said, session, states) < most
        assert web_writer.apart(wake, {**said, "features": {**vars(settings), "offset": -8.0}}, session, states) > 1e-3


def told_of(arguments: list, capsys) -> str:
    assert main(["export", *map(str, arguments)]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and "Traceback" not in lines[0], lines
    return lines[0]


def pretended(folder: Path, **changes) -> Path:
    """A folder that looks like the npm package."""
    (folder / "dist").mkdir(parents=True)
    for name in web_writer._RUNTIME_FILES:
        (folder / "dist" / name).write_bytes(b"")
    (folder / "package.json").write_text(json.dumps({"name": web_writer.RUNTIME, "version": "9", **changes}))
    return folder


def test_bad_input_is_one_line_and_leaves_nothing(several_files, model_files, tmp_path, capsys, monkeypatch):
    place = tmp_path / "out"
    place.mkdir()
    whole = pretended(tmp_path / "whole")
    common = [several_files[0], "--format", "web", "--output", place / "web"]
    remedy = f"npm install {web_writer.RUNTIME}@{web_writer.RUNTIME_VERSION}"
    parted = pretended(tmp_path / "parted")
    (parted / "dist" / web_writer._RUNTIME_FILES[-1]).unlink()
    damaged = pretended(tmp_path / "damaged")
    (damaged / "package.json").write_bytes(b"{")
    for folder in (
        tmp_path,
        tmp_path / "none",
        pretended(tmp_path / "other", name="lodash"),
        parted,
        damaged,
        __file__,
    ):
        told = told_of([*common, "--runtime", folder], capsys)
        assert str(folder) in told and remedy in told
    monkeypatch.chdir(tmp_path)
    assert remedy in told_of(common, capsys)
    assert "small.onnx" in told_of([model_files[1], *common[1:], "--runtime", whole], capsys)
    assert "--runtime belongs to --format web" in told_of(
        [several_files[0], "--output", place / "x.onnx", "--runtime", whole], capsys
    )
    assert "--dtype belongs to --format c" in told_of([*common, "--dtype", "int8"], capsys)
    assert "web.onnx: this format is a folder" in told_of([*common[:3], "--output", place / "web.onnx"], capsys)
    monkeypatch.setattr(web_writer, "apart", lambda *_: float("nan"))
    assert "differs by" in told_of([*common, "--runtime", whole], capsys)
    assert list(place.iterdir()) == []
    (place / "web").mkdir()
    assert "there already" in told_of([*common, "--runtime", whole], capsys)
    assert list(place.iterdir()) == [place / "web"] and not any((place / "web").iterdir())


def test_the_nearest_node_modules_is_taken(several_files, tmp_path, monkeypatch, capsys):
    pretended(tmp_path / "node_modules" / web_writer.RUNTIME, version="7.1")
    (tmp_path / "a" / "b").mkdir(parents=True)
    pretended(tmp_path / "a" / "node_modules" / "lodash", name="lodash")
    monkeypatch.chdir(tmp_path / "a" / "b")
    assert main(["export", str(several_files[0]), "--format", "web", "--output", "web", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runtime_version"] == "7.1"
    assert "onnxruntime-web@7.1" in Path("web/README.md").read_text()
    about = json.loads(Path("web/model.json").read_text())
    assert about["meta"] == load_wakeword(several_files[0])[1]


def test_one_version_is_named_everywhere():
    named = re.findall(r"onnxruntime-web@([\d.]+\d)", DOCS + (ROOT / "Makefile").read_text())
    assert len(named) > 1 and set(named) == {web_writer.RUNTIME_VERSION}
