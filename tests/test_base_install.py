"""The base install: numpy, onnxruntime, soundfile, soxr and sounddevice, and nothing heavier."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from wakeword.audio.waveform import write_wav
from wakeword.errors import WakewordError
from wakeword.model.runtimes import open_onnx

HEAVY = ["torch", "torchaudio", "lhotse", "librosa", "safetensors", "matplotlib", "tqdm", "onnx", "onnxscript", "scipy"]
HEAVY += ["tomli", "faster_whisper", "ctranslate2", "pocketsphinx", "wordfreq", "pyroomacoustics", "rich", "wyoming"]
HEAVY += ["websockets", "ai_edge_litert", "executorch"]
BASE = {
    "": "cli errors files",
    "audio": "clips decode input_faults levels loudspeaker microphone ring waveform",
    "features": "log_mel",
    "acoustic": "lexicon phones",
    "model": "budget checkpoint curve folders halves litert protobuf pte runtimes",
    "detector": "detector gate together trigger",
    "listener": "demo_door demo_page kept listener near_misses receivers review signals view",
    "training": "guard",
    "evaluation": "calibrate conditions evaluate groups metrics misses"
    " operating parity_card report robustness score streams",
    "phrases": "chance neighbours phrase",
    "verbs": "demo listen parity",
}


def without_extras(code: str, *arguments: object) -> subprocess.CompletedProcess:
    """Run code where the packages of the extras cannot be imported."""
    block = f"import sys\nfor name in {HEAVY}: sys.modules[name] = None\n"
    return subprocess.run(
        [sys.executable, "-c", block + textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=Path(__file__).parents[1],
    )


def test_the_modules_of_the_base_install_import():
    done = without_extras(
        """
        import importlib
        import wakeword
        assert wakeword.Detector and wakeword.Hit and wakeword.__version__
        for name in sys.argv[1:]:
            importlib.import_module(f"wakeword.{name}")
        """,
        *(".".join(filter(None, (package, name))) for package, names in BASE.items() for name in names.split()),
    )
    assert done.returncode == 0, done.stderr


def test_importing_the_package_loads_nothing_slow():
    done = without_extras("import wakeword; print('onnxruntime' in sys.modules, 'sounddevice' in sys.modules)")
    assert done.stdout.split() == ["False", "False"], done.stderr


def test_an_exported_model_scores_a_file_as_it_does_with_torch(tmp_path, model_files, speech_like):
    from wakeword import Detector
    from wakeword.audio.waveform import read_audio

    samples = speech_like(5, 3)
    write_wav(tmp_path / "a.wav", samples)
    done = without_extras(
        """
        import numpy
        from wakeword import Detector
        from wakeword.audio.clips import Clip, find_clips
        from wakeword.evaluation.score import score_clip
        detector = Detector.load(sys.argv[1])
        time_s, score = score_clip(detector, find_clips(sys.argv[2])[0])
        numpy.save(sys.argv[3], score)
        detector.reset()
        detector.thresholds = [1e-9]
        print(detector.process(numpy.zeros(16000, numpy.float32))[0].phrase)
        """,
        model_files[1],
        tmp_path / "a.wav",
        tmp_path / "score.npy",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "hello"
    expected = Detector.load(model_files[0]).scores(read_audio(tmp_path / "a.wav"))[1]
    assert expected.shape == (125, 1)
    np.testing.assert_allclose(np.load(tmp_path / "score.npy"), expected, atol=1e-4)


def test_an_exported_model_is_calibrated(tmp_path, model_files, speech_like):
    from wakeword import Detector

    write_wav(tmp_path / "negatives.wav", speech_like(70, 3))
    (tmp_path / "m.onnx").write_bytes(model_files[1].read_bytes())
    done = without_extras(
        """
        from wakeword.cli import main
        raise SystemExit(main(["calibrate", sys.argv[1], "--negatives", sys.argv[2], "--budget", "100/h"]))
        """,
        tmp_path / "m.onnx",
        tmp_path / "negatives.wav",
    )
    assert done.returncode == 0, done.stderr
    detector = Detector.load(tmp_path / "m.onnx")
    (threshold,) = detector.thresholds
    assert f"threshold {threshold:.4f}" in done.stdout and threshold != 0.5
    done = without_extras(
        """
        from wakeword import Detector
        print(*(Detector.load(sys.argv[1], sensitivity=x).thresholds[0] for x in (0, 0.5, 1)))
        """,
        tmp_path / "m.onnx",
    )
    strict, middle, keen = map(float, done.stdout.split())
    assert strict > middle == threshold > keen


def test_robustness_needs_more_and_says_so_in_one_line(tmp_path, model_files, speech_like):
    write_wav(tmp_path / "a.wav", speech_like(5, 3))
    write_wav(tmp_path / "b.wav", speech_like(5, 4))
    done = without_extras(
        """
        from wakeword.cli import main
        arguments = ["evaluate", sys.argv[1], "--positives", sys.argv[2], "--negatives", sys.argv[3]]
        assert main(arguments) == 0
        raise SystemExit(main([*arguments, "--robustness"]))
        """,
        model_files[1],
        tmp_path / "a.wav",
        tmp_path / "b.wav",
    )
    told = [line for line in done.stderr.splitlines() if "%" not in line]
    assert done.returncode == 2 and len(told) == 1 and "wakeword[train]" in told[0], done.stderr


def test_a_model_that_needs_torch_says_so_in_one_line(model_files):
    done = without_extras(
        """
        from wakeword import Detector, WakewordError
        try:
            Detector.load(sys.argv[1])
        except WakewordError as error:
            print(error)
        """,
        model_files[0],
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
    assert "wakeword[train]" in done.stdout and "torch" in done.stdout


@pytest.mark.parametrize(("verb", "package"), [("serve", "wyoming"), ("demo", "websockets")])
def test_a_server_without_its_protocol_says_so_in_one_line(model_files, verb, package):
    done = without_extras(
        """
        from wakeword.cli import main
        raise SystemExit(main(sys.argv[1:]))
        """,
        verb,
        model_files[1],
    )
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert package in done.stderr and f"wakeword[{verb}]" in done.stderr


def test_a_broken_file_is_named_before_torch_is_missed(tmp_path):
    (tmp_path / "m.wakeword").write_bytes(b"no model")
    done = without_extras(
        """
        from wakeword import Detector
        from wakeword.errors import ModelError
        try:
            Detector.load(sys.argv[1])
        except ModelError as error:
            print(error)
        """,
        tmp_path / "m.wakeword",
    )
    assert done.returncode == 0, done.stderr
    assert "m.wakeword: not a wakeword model" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"],
        ["--help"],
        *([verb, "--help"] for verb in ("train", "listen", "serve", "demo", "transcribe", "phrase")),
    ],
)
def test_the_command_answers_without_the_extras(arguments):
    done = without_extras(
        """
        from wakeword.cli import main
        raise SystemExit(main(sys.argv[1:]))
        """,
        *arguments,
    )
    assert done.returncode == 0 and done.stdout and not done.stderr, done.stderr


def test_a_package_that_the_base_install_brings_is_named_without_an_extra(monkeypatch):
    """The remedy was once `pip install 'wakeword[]'`."""
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(WakewordError, match=r"'onnxruntime', which is missing or broken \(.*\): pip install wakeword$"):
        open_onnx("any.onnx")
