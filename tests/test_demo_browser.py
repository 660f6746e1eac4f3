"""The web page in a headless Chromium whose microphone plays a clip again and again."""

from __future__ import annotations

import re

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("websockets")

from browser import Browser, program  # noqa: E402
from conftest import SHARED  # noqa: E402
from test_demo import Server  # noqa: E402
from test_record import take  # noqa: E402

from data_prep.cuts import read_cuts  # noqa: E402
from wakeword.audio.levels import active_span  # noqa: E402
from wakeword.audio.waveform import SAMPLE_RATE, read_audio, write_wav  # noqa: E402
from wakeword.detector.detector import Detector  # noqa: E402

PERIOD_S, LEAD_S, CLIP_S = 3.5, 1.0, 2.5
COUNT_DOWN_S = 1.8  # of the page
# Within the page, whatever else the machine does meanwhile.
AT_THE_NEXT_HIT = """
new MutationObserver((_, observer) => {
  observer.disconnect();
  setTimeout(() => document.getElementById('record').click(), %d);
}).observe(document.getElementById('hits'), { childList: true })
"""
CLIP = SHARED / "wake-words" / "computer" / "07542e8f-828a-406b-a78d-3c26ce6a503f.opus"

pytestmark = pytest.mark.skipif(
    program() is None, reason="NO CHROMIUM: the web page did not run (apt-get install chromium-headless-shell)"
)


def clip() -> np.ndarray:
    """A person's "computer" where the recordings are there, else a burst like a voice; nothing before and after."""
    samples = read_audio(CLIP) if CLIP.exists() else take(start=0.1, length=0.8, seconds=1.2, noise=0)
    begin, end = (round(each * SAMPLE_RATE) for each in active_span(samples))
    return samples[begin:end]


@pytest.fixture(scope="module")
def spoken() -> np.ndarray:
    """What the microphone plays: the clip in a silent room. It begins `LEAD_S` from the start."""
    room = 3e-4 * np.random.default_rng(0).standard_normal(round(PERIOD_S * SAMPLE_RATE))
    said, at = clip(), round(LEAD_S * SAMPLE_RATE)
    room[at : at + len(said)] += 0.5 * said / np.abs(said).max()
    return room.astype(np.float32)


@pytest.fixture(scope="module")
def heard(several_files, spoken) -> tuple[str, float, float, set[str]]:
    """The phrase that hears the clip best, a threshold between what it gives for clip and room, when after the clip's
    begin it is reached, and which phrases ever come near it."""
    detector = Detector.load(several_files[1])
    time_s, score = detector.scores(np.tile(spoken, 3))
    second = (time_s > PERIOD_S) & (time_s <= 2 * PERIOD_S)
    time_s, score = time_s[second] - PERIOD_S - LEAD_S, score[second]
    room = score[time_s < 0].max(axis=0)
    best = int((score.max(axis=0) - room).argmax())
    threshold = (score[:, best].max() + room[best]) / 2
    assert score[:, best].max() - room[best] > 0.2, "the clip and the room must give scores that differ"
    delay_s = float(time_s[score[:, best] >= threshold][0])
    near = {phrase for phrase, most in zip(detector.phrases, score.max(axis=0), strict=True) if most > threshold - 0.1}
    return detector.phrases[best], float(threshold), delay_s, near


SLOW_MICROPHONE = """
(() => {
  const devices = navigator.mediaDevices, open = devices.getUserMedia.bind(devices);
  devices.getUserMedia = async (wanted) => {
    const stream = window.stream = await open(wanted);
    await new Promise((done) => (window.allow = done));
    if (!%s) throw new Error("not allowed");
    return stream;
  };
})()
"""


@pytest.mark.parametrize("allowed", ["true", "false"])
def test_a_server_that_goes_while_the_microphone_is_being_opened_leaves_it_shut(
    tmp_path, several_files, spoken, allowed
):
    write_wav(tmp_path / "microphone.wav", spoken)
    with Server(tmp_path, str(several_files[1])) as server, Browser(tmp_path, tmp_path / "microphone.wav") as browser:
        browser.open(f"http://{server.host}/?token={server.token}")
        browser.run(SLOW_MICROPHONE % allowed)
        browser.click("start")
        browser.until("Boolean(window.allow)")
        assert server.end() == 0
        browser.until("document.getElementById('problem').innerText.includes('server is gone')")
        browser.run("window.allow()")
        if allowed == "true":
            browser.until("window.stream.getTracks().every(track => track.readyState === 'ended')")
        browser.run("new Promise(done => setTimeout(done, 300))")
        assert browser.text("start") == "Start the microphone" and browser.run(
            "document.getElementById('start').disabled"
        )
        assert "off" in browser.text("status") and "server is gone" in browser.text("problem")


def test_a_hit_shows_and_a_clip_is_recorded_played_and_deleted(tmp_path, several_files, spoken, heard):
    phrase, threshold, delay_s, near = heard
    write_wav(tmp_path / "microphone.wav", spoken)
    folder = tmp_path / "clips"
    arguments = [str(several_files[1]), "--threshold", f"{threshold:.4f}", "--record", str(folder)]
    hits = f"[...document.querySelectorAll('#hits li')].filter(each => each.dataset.phrase === '{phrase}').length"
    arguments += ["--phrase", "computer", "--seconds", str(CLIP_S)]
    with Server(tmp_path, *arguments) as server, Browser(tmp_path, tmp_path / "microphone.wav") as browser:
        browser.open(f"http://{server.host}/?token={server.token}")
        assert browser.run("location.href") == f"http://{server.host}/", "the token does not stay in the address"
        browser.until("!document.getElementById('recording').hidden")
        assert browser.text("phrase") == "computer" and "one, threshold" in browser.text("phrases")
        assert browser.run("document.cookie") == "", "scripts cannot read the token"

        browser.click("record")
        browser.until("document.getElementById('problem').innerText.includes('start the microphone')")
        browser.click("start")
        browser.until(hits)
        assert float(browser.run("document.querySelector('#level output').textContent").split()[0]) < 0
        assert browser.run(
            "document.getElementById('curve').getContext('2d').getImageData(0, 0, 400, 200).data.some(x => x)"
        )

        # So that the next clip lies in the middle of the take. A machine that is too busy for that gets another try.
        wait_s = (PERIOD_S - delay_s - COUNT_DOWN_S - 0.75) % PERIOD_S
        for _ in range(3):
            browser.run(AT_THE_NEXT_HIT % (1000 * wait_s))
            browser.until("document.getElementById('cue').className === 'now'")
            verdict = browser.until("document.getElementById('verdict').innerText")
            if verdict.startswith("good"):
                break
        assert verdict.startswith("good (peak ")
        browser.click("listen")
        browser.click("keep")
        browser.until("document.querySelectorAll('#clips li').length === 1")
        (path,) = folder.glob("*.wav")
        assert path.name == "computer_0001.wav" and path.stat().st_mode & 0o777 == 0o600
        assert [cut["id"] for cut in read_cuts(folder / "recorded_cuts.jsonl.gz")] == ["computer_0001"]
        samples = read_audio(path)
        assert len(samples) == CLIP_S * SAMPLE_RATE
        # It is the clip that was played, wherever it lies in the take.
        said = spoken[round(LEAD_S * SAMPLE_RATE) :][: round(0.6 * SAMPLE_RATE)]
        found = np.correlate(samples, said, "valid")
        energy = np.convolve(np.square(samples), np.ones(len(said)), "valid") * (said @ said)
        assert np.abs(found / np.sqrt(energy + 1e-9)).max() > 0.9

        (listen, delete) = (f"document.querySelector('#clips li button:nth-of-type({n})')" for n in (1, 2))
        browser.run(f"{listen}.click()")
        browser.run(f"{delete}.click()")
        assert path.exists() and browser.run(f"{delete}.textContent") == "really?"
        browser.run(f"{delete}.click()")
        browser.until("document.querySelectorAll('#clips li').length === 0")
        assert not path.exists()
        assert browser.text("problem") == ""

        seen = browser.run(hits)
        seconds = float(re.match(r"(\d+) s heard", browser.text("status"))[1])
        assert abs(seen - seconds / PERIOD_S) <= 2, "one hit a clip"
        browser.click("start")
        browser.until("document.getElementById('status').innerText.includes('off')")

        assert server.end() == 0
        browser.until("document.getElementById('problem').innerText.includes('server is gone')")
        # Only now: until the microphone is off, a further clip may be heard.
        shown = browser.run("[...document.querySelectorAll('#hits li')].map(each => each.dataset.phrase)")
        assert set(shown) <= near
        assert browser.errors == []
        assert {each.split("/")[2] for each in browser.requests} == {server.host}, "nothing from elsewhere"
        assert browser.played == 2
    assert f"1 page(s), {len(shown)}" in server.lines()[-1] and "1 clip(s) recorded" in server.lines()[-1]
