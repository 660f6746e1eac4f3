"""One engine hears one recording: `python peers_engines.py ENGINE AUDIO OUT [OPTIONS]`; peers.py runs it.

It runs in the environment where the engine is installed and needs numpy and that engine alone. AUDIO is a file of raw
samples, 16 kHz, mono, int16, or - for the standard input; OPTIONS is a JSON table for the engine. OUT, an .npz, gets

- score: float32 [n], or [n, dims] of an engine that gives embeddings;
- hop_s: seconds between two; score i is known after `hop_s * (i + 1)` seconds of audio;
- seconds: of audio heard; cpu_s: of this process while it heard it, all threads, without loading the engine;
- peak_mb: the most resident memory that the process ever had, in 10**6 bytes.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections import deque
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np

SAMPLE_RATE = 16000
BLOCK = 1280
"""Samples at a time, 80 ms, where the engine leaves the choice."""

Step = Callable[[np.ndarray], np.ndarray]
"""a block int16 [samples] -> the scores that it completes, [k] or [k, dims]; always as many"""

EMBEDDINGS, MEL_FRAMES, MELS, DIMS = 16, 76, 32, 96
"""openWakeWord's shapes: embeddings in a model's window, frames of 10 ms and bands under one embedding, its size."""

LEAST_EXPONENT, EXPONENTS = -60, 200
"""PocketSphinx spots what is likelier than 1e-60 of the best other phones; a score is (exponent + 60) / 200."""
KWS_MAX, SENSCR_SHIFT = 1500, 10
"""Of its source, kws_search.c: added to and shifted out of the logarithms that it reports."""
MANY_SPOTTED, OVERLAP_S = 50, 1.5


def nothing(options: dict) -> tuple[int, Step]:
    """No engine: what reading samples in Python with numpy costs by itself."""
    return BLOCK, lambda block: np.zeros(1)


def wakeword(options: dict) -> tuple[int, Step]:
    """An exported model, `options["model"]`."""
    from wakeword import Detector

    detector = Detector.load(options["model"])
    return BLOCK, lambda block: detector.scores(block.astype(np.float32) / 32768)[1][:, 0]


def porcupine(options: dict) -> tuple[int, Step]:
    """1 where Porcupine reports `options["word"]` at `options["sensitivity"]`, 0 elsewhere; it gives no score."""
    import pvporcupine

    engine = pvporcupine.create(keywords=[options["word"]], sensitivities=[options["sensitivity"]])
    return engine.frame_length, lambda block: np.array([engine.process(block.tolist()) >= 0])


def openwakeword(options: dict) -> tuple[int, Step]:
    """The score of the pretrained model for `options["word"]`; those for `options["beside"]` run too."""
    from openwakeword import Model

    word = options["word"]
    np.random.seed(0)  # it begins as if it had heard noise
    model = Model(wakeword_models=[word, *options.get("beside", ())], inference_framework="onnx")
    return BLOCK, lambda block: np.array([model.predict(block)[word]])


def microwakeword(options: dict) -> tuple[int, Step]:
    """The probability of the pretrained model for `options["word"]`, averaged over its own window; those for
    `options["beside"]` hear the same features, for their cost."""
    from pymicro_wakeword import MicroWakeWord, MicroWakeWordFeatures, Model

    words = [options["word"], *options.get("beside", ())]
    (model, *others), features = [MicroWakeWord.from_builtin(Model(word)) for word in words], MicroWakeWordFeatures()

    def step(block: np.ndarray) -> np.ndarray:
        frames = list(features.process_streaming(block.tobytes()))
        # It answers each 10 ms of features, with 0 until it has as many as it looks at.
        found = [model.process_streaming_prob(each) for each in frames]
        for other in others:
            for each in frames:
                other.process_streaming_prob(each)
        return np.array([max(found, default=0.0)])

    return model.stride * SAMPLE_RATE // 100, step


def pocketsphinx(options: dict) -> tuple[int, Step]:
    """How likely `options["word"]` just ended is against the best other phones, from one pass of keyword spotting.

    It compares exactly this with its `kws_threshold` and keeps the best of overlapping detections, so a pass at a low
    threshold says what passes at all higher ones would spot.
    """
    from pocketsphinx import Decoder

    word = options["word"]
    decoder = Decoder(keyphrase=word, kws_threshold=10.0**LEAST_EXPONENT, lm=None, loglevel="FATAL")
    if decoder.lookup_word(word) is None:
        raise ValueError(f"'{word}' is not in the dictionary")
    decoder.start_utt()
    recent: deque = deque(maxlen=math.ceil(OVERLAP_S * SAMPLE_RATE / BLOCK))
    begun = reported = heard = 0  # frames of 10 ms: where the utterance began, until where all is told, all

    def exponent(probability: float) -> float:
        return (decoder.logmath.log(probability) + KWS_MAX) * math.log10(1.0001) * 2**SENSCR_SHIFT

    def step(block: np.ndarray) -> np.ndarray:
        nonlocal begun, reported, heard
        decoder.process_raw(block.tobytes(), False, False)
        recent.append(block)
        heard += len(block) * 100 // SAMPLE_RATE
        spotted = list(decoder.seg() or ())
        new = [each for each in spotted if begun + each.end_frame > reported]
        best = max((exponent(each.prob) for each in new), default=-math.inf)
        reported = max([reported, *(begun + each.end_frame for each in new)])
        if len(spotted) > MANY_SPOTTED:
            # It looks through all it has spotted in the utterance each time: a new one, that begins a little earlier.
            decoder.end_utt()
            decoder.start_utt()
            decoder.process_raw(np.concatenate(recent).tobytes(), False, False)
            begun = heard - sum(map(len, recent)) * 100 // SAMPLE_RATE
        return np.array([min(1.0, max(0.0, (best - LEAST_EXPONENT) / EXPONENTS))])

    return BLOCK, step


def embedding(options: dict) -> tuple[int, Step]:
    """Google's speech embedding (Lin et al., "Training keyword spotters with limited and synthesized speech data",
    ICASSP 2020) from the models in openWakeWord's wheel, computed as openWakeWord does on a stream: [1, 96]."""
    from onnxruntime import InferenceSession, SessionOptions

    settings = SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    package = find_spec("openwakeword")  # importing it would load scikit-learn, which this does not need
    if package is None:
        raise ModuleNotFoundError("No module named 'openwakeword'")
    models = Path(package.origin).parent / "resources" / "models"
    mel, embed = (
        InferenceSession(str(models / name), settings, providers=["CPUExecutionProvider"])
        for name in ("melspectrogram.onnx", "embedding_model.onnx")
    )
    overlap = 480  # samples of the block before, which its first frame reaches into
    before, frames = np.zeros(overlap, np.int16), np.ones((MEL_FRAMES, MELS), np.float32)

    def step(block: np.ndarray) -> np.ndarray:
        nonlocal before, frames
        heard = np.concatenate([before, block])
        before = heard[-overlap:]
        (spectrum,) = mel.run(None, {"input": heard[None].astype(np.float32)})
        # The scaling is openWakeWord's: it brings this spectrogram to the one that the embedding was trained on.
        frames = np.concatenate([frames, spectrum.reshape(-1, MELS) / 10 + 2])[-MEL_FRAMES:]
        return embed.run(None, {"input_1": frames[None, :, :, None]})[0].reshape(1, DIMS)

    return BLOCK, step


def transfer(options: dict) -> tuple[int, Step]:
    """A small network on the last 16 embeddings; `options["head"]` is what peers_transfer.py wrote."""
    _, embed = embedding(options)
    with np.load(options["head"]) as file:
        head = dict(file)
    window = np.zeros((EMBEDDINGS, DIMS), np.float32)

    def step(block: np.ndarray) -> np.ndarray:
        nonlocal window
        window = np.concatenate([window[1:], embed(block)])
        return probability(window[None], head)

    return BLOCK, step


def probability(windows: np.ndarray, head: dict[str, np.ndarray]) -> np.ndarray:
    """The network of `transfer`, [n], on windows [n, 16, 96]: two layers with layer normalisation, one output."""
    x = ((windows - head["mean"]) / head["deviation"]).reshape(len(windows), -1)
    for layer in ("first", "second"):
        x = x @ head[f"{layer}.weight"].T + head[f"{layer}.bias"]
        x = x - x.mean(1, keepdims=True)
        x = x / np.sqrt((x**2).mean(1, keepdims=True) + 1e-5)
        x = np.maximum(x * head[f"{layer}_norm.weight"] + head[f"{layer}_norm.bias"], 0)
    logit = x @ head["output.weight"].T + head["output.bias"]
    return 1 / (1 + np.exp(-logit[:, 0]))


ENGINES: dict[str, Callable[[dict], tuple[int, Step]]] = {
    each.__name__: each
    for each in (nothing, wakeword, porcupine, openwakeword, microwakeword, pocketsphinx, embedding, transfer)
}


def listen(engine: str, audio, options: dict) -> dict[str, np.ndarray]:
    """What OUT holds, of an open file of samples. A last block that is not whole is left out."""
    size, step = ENGINES[engine](options)
    found, blocks = [], 0
    began = time.process_time()
    # Read piece by piece: a mapped file would count as memory of the engine.
    while len(read := audio.read(2 * size)) == 2 * size:
        found.append(np.asarray(step(np.frombuffer(read, "<i2")), np.float32))
        blocks += 1
    cpu_s = time.process_time() - began
    each = len(found[0]) if found else 1
    return {
        "score": np.concatenate(found) if found else np.zeros(0, np.float32),
        "hop_s": np.float64(size / SAMPLE_RATE / each),
        "seconds": np.float64(blocks * size / SAMPLE_RATE),
        "cpu_s": np.float64(cpu_s),
        "peak_mb": np.float64(peak_mb()),
    }


def peak_mb() -> float:
    """The peak of this process's resident memory; NaN where the system does not tell."""
    try:
        # Not getrusage: its peak begins with that of the process that started this one.
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
    except (OSError, IndexError):
        return math.nan


def main() -> int:
    engine, audio, out, *options = sys.argv[1:]
    try:
        with sys.stdin.buffer if audio == "-" else open(audio, "rb") as file:
            found = listen(engine, file, json.loads(options[0]) if options else {})
    except Exception as error:  # Each engine has errors of its own; the caller wants one line.
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    np.savez(out, **found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
