"""The C export: layers, integers, the C code against both, and what it refuses."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
from itertools import cycle, islice, repeat
from pathlib import Path

import numpy as np
import pytest
from documented import DOCS
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from wakeword import Detector  # noqa: E402
from wakeword.audio.waveform import read_audio, write_wav  # noqa: E402
from wakeword.cli import exit_status, main  # noqa: E402
from wakeword.errors import ConfigError, ModelError, Skipped, WakewordError  # noqa: E402
from wakeword.export import c_size, c_writer  # noqa: E402
from wakeword.export.c_host import CHost  # noqa: E402
from wakeword.export.c_model import array, at_least, config_header  # noqa: E402
from wakeword.export.c_size import parse_size  # noqa: E402
from wakeword.export.c_writer import calibrated, export_c  # noqa: E402
from wakeword.export.calibration import calibration_audio, in_steps  # noqa: E402
from wakeword.export.layers import Linear, flat, initial_pasts, run, sizes_of  # noqa: E402
from wakeword.export.quantise import (  # noqa: E402
    LARGEST,
    compute_integer,
    feature_peak,
    integer_features,
    integer_step,
    peaks_of,
    quantise,
)
from wakeword.features.log_mel import FeatureSettings, extract  # noqa: E402
from wakeword.head.layers import HeadSizes  # noqa: E402
from wakeword.head.transfer import load_wakeword, save_wakeword  # noqa: E402
from wakeword.model.checkpoint import rewrite_meta  # noqa: E402
from wakeword.model.runtimes import running  # noqa: E402

SETTINGS = FeatureSettings(mels=16)
STRICT = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror"]
HEADS = [
    HeadSizes(depth=0, outputs=2),
    HeadSizes(depth=1, channels=7),
    HeadSizes(depth=4, channels=6, separable=True, kernel=4),
    HeadSizes(depth=4, channels=8, outputs=3),
]


@pytest.fixture(scope="module")
def compiler() -> str:
    found = shutil.which("gcc")
    if found is None:
        pytest.skip("NO C COMPILER: gcc is absent, this test did not run")
    return found


@pytest.fixture(scope="module")
def directories(tmp_path_factory, several_files, sounds) -> dict[str, Path]:
    """A model of three phrases as C, by dtype."""
    folder = tmp_path_factory.mktemp("exported")
    for dtype in ("int8", "float32"):
        export_c(several_files[0], folder / dtype, dtype, [str(sounds)] if dtype == "int8" else ())
    return {dtype: folder / dtype for dtype in ("int8", "float32")}


@pytest.fixture(scope="module")
def libraries(compiler, tmp_path_factory, directories) -> dict[str, CHost]:
    folder = tmp_path_factory.mktemp("libraries")
    return {dtype: CHost(at, folder / f"{dtype}.so") for dtype, at in directories.items()}


def test_a_pause_of_years_is_one_that_32_bits_hold(model_files):
    model, meta = load_wakeword(model_files[0])
    for pause_s, frames in ((0.0, 1), (1e12, 2**31 - 1)):
        header = config_header(
            flat(model), {**meta, "refractory_s": pause_s}, FeatureSettings(**meta["features"]), None
        )
        assert f"#define WW_REFRACTORY_FRAMES {frames}\n" in header


def pcm(samples: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(samples * 32768), -32768, 32767).astype(np.int16)


def torch_posteriors(model, features: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return torch.sigmoid(model(torch.from_numpy(features.reshape(1, -1, 16))))[0].numpy()


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


@pytest.mark.parametrize("head", HEADS, ids=str)
def test_the_flat_list_is_the_model(small_model, speech_like, head):
    model = small_model(3, head)
    layers, features = flat(model), in_steps(extract(speech_like(3, 1), SETTINGS))
    values, _ = run(layers, features, initial_pasts(layers))
    assert [value.shape[1] for value in values] == sizes_of(layers)
    assert np.abs(sigmoid(values[-1]) - torch_posteriors(model, features)).max() < 1e-5


def test_a_frame_at_a_time_is_all_at_once(small_model, speech_like):
    layers, features = flat(small_model(3)), in_steps(extract(speech_like(2, 1), SETTINGS))
    whole, pasts, found = run(layers, features, initial_pasts(layers))[0][-1], initial_pasts(layers), []
    for frame in features:
        values, pasts = run(layers, frame[None], pasts)
        found.append(values[-1])
    np.testing.assert_allclose(np.concatenate(found), whole, atol=1e-5)


@pytest.mark.parametrize("head", HEADS, ids=str)
def test_c_gives_the_logits_of_the_integer_reference_bit_for_bit(
    compiler, tmp_path, small_model, wake_meta, sounds, speech_like, monkeypatch, head
):
    """On made speech, and on noise over the whole range of the features, where values saturate."""
    monkeypatch.setattr(c_size, "COMPILER", "none")  # not measured here: it takes seconds
    model = small_model(5, head)
    save_wakeword(tmp_path / "m.wakeword", model, wake_meta(said=("a", "b", "c")[: head.outputs]))
    export_c(tmp_path / "m.wakeword", tmp_path / "c", "int8", [str(sounds)])
    layers = flat(load_wakeword(tmp_path / "m.wakeword")[0])
    integers = calibrated(layers, calibration_audio([sounds], Skipped(), lambda *_: None), SETTINGS)
    speech = integer_features(in_steps(extract(speech_like(6, 9), SETTINGS)), integers.feature_scale)
    noise = np.random.default_rng(0).integers(-LARGEST, LARGEST + 1, (100, 64)).astype(np.int16)
    library = CHost(tmp_path / "c", tmp_path / "m.so")
    for features in (speech, noise):
        zeros = initial_pasts(layers, np.int64)
        expected = run(integers.layers, features.astype(np.int64), zeros, compute_integer)[0][-1]
        assert np.abs(expected).max() < 2**31 and expected.std() > 0
        np.testing.assert_array_equal(library.logits(features), expected)


def test_integers_are_near_the_model(several_files, sounds, speech_like):
    """Also where the ranges were set by other audio."""
    model, _ = load_wakeword(several_files[0])
    integers = calibrated(flat(model), calibration_audio([sounds], Skipped(), lambda *_: None), SETTINGS)
    features = in_steps(extract(speech_like(10, 20), SETTINGS))
    step, zero = integer_step(integers)
    found = step(features.reshape(1, -1, 16), zero)[0]
    difference = np.abs(found - torch_posteriors(model, features))
    assert difference.max() < 0.04 and difference.mean() < 0.004


def test_no_sum_leaves_32_bits_whatever_it_hears(small_model):
    """Rows of many large weights, and rows that are all but bias: the scale of the row gives way."""
    wide = np.ones((3, 800), np.float32)
    wide[1] = 1e-9
    bias = np.float32([0, 500, 0])
    made = [Linear((0,), wide, bias), Linear((1,), np.ones((1, 3), np.float32), np.float32([0]), relu=False)]
    model = flat(small_model(2, HEADS[2]))
    for layers, heard in ((made, np.ones((9, 800), np.float32)), (model, np.full((20, 64), 2.0, np.float32))):
        integers = quantise(layers, peaks_of(layers, [heard]), SETTINGS)
        for layer in integers.layers:
            weight = np.abs(layer.weight.astype(np.int64))
            if hasattr(layer, "bias"):
                assert (LARGEST * weight.sum(axis=1) + np.abs(layer.bias.astype(np.int64))).max() < 2**31
            else:
                assert weight.sum(axis=0).max() <= LARGEST
    first = quantise(made, peaks_of(made, [np.ones((9, 800), np.float32)]), SETTINGS).layers[0]
    assert first.weight[0].max() < 127 and first.bias[1] > 2**28, "neither limit was met"


def test_no_feature_leaves_its_range():
    peak = feature_peak(SETTINGS)
    square = np.where(np.arange(16000) % 32 < 16, 1.0, -1.0).astype(np.float32)
    for samples in (np.zeros(16000, np.float32), np.ones(16000, np.float32), square):
        assert np.abs(extract(samples, SETTINGS)).max() <= peak


@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_features_in_c_are_those_of_numpy(libraries, speech_like, dtype):
    """At all levels from silence to a full-scale square wave; int8's are within 16 of 32767 units."""
    square = np.where(np.arange(16000) % 37 < 18, 32767, -32768).astype(np.int16)
    speech = speech_like(5, 11)
    sounds = [pcm(speech), pcm(speech * 0.01), pcm(speech * 8), np.zeros(4000, np.int16), square]
    sounds += [np.full(4000, -32768, np.int16), np.random.default_rng(1).integers(-3, 4, 4000).astype(np.int16)]
    samples = np.concatenate(sounds)
    expected, found = extract(samples.astype(np.float32) / 32768, SETTINGS), libraries[dtype].features(samples)
    if dtype == "int8":
        difference = np.abs(found - integer_features(expected, feature_peak(SETTINGS) / LARGEST).astype(int))
        assert difference.max() <= 16 and difference.mean() < 0.5
    else:
        np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("dtype, bound", [("int8", 2e-3), ("float32", 1e-4)])
def test_hits_are_those_of_the_detector(libraries, several_files, sounds, speech_like, dtype, bound):
    """float32 beside the torch model; int8 beside the integer reference, whose features numpy computes."""
    samples = pcm(speech_like(30, 7))
    model, meta = load_wakeword(several_files[0])
    step, zero = running(model, meta)[:2]
    if dtype == "int8":
        heard = calibration_audio([sounds], Skipped(), lambda *_: None)
        step, zero = integer_step(calibrated(flat(model), heard, SETTINGS))
    detector = Detector(step, zero, meta)
    expected = detector.process(samples.astype(np.float32) / 32768)
    found = libraries[dtype].hits(samples, repeat(160, 3000))
    assert len(expected) >= 10 and len({hit.phrase for hit in expected}) == 3
    assert [(detector.phrases[phrase], at / 16000) for phrase, _, at in found] == [
        (hit.phrase, pytest.approx(hit.time_s)) for hit in expected
    ]
    np.testing.assert_allclose([score for _, score, _ in found], [hit.score for hit in expected], atol=bound)
    libraries[dtype].reset()
    detector.reset()
    heard = samples.astype(np.float32) / 32768
    found = [libraries[dtype].scores(block) for block in np.split(heard, [7, 1000, 1280, 90000])]
    expected = detector.scores(heard)
    np.testing.assert_allclose(np.concatenate([time_s for time_s, _ in found]), expected[0])
    np.testing.assert_allclose(np.concatenate([score for _, score in found]), expected[1], atol=bound)


@pytest.mark.parametrize("dtype", ["int8", "float32"])
@given(blocks=st.lists(st.integers(0, 3000), min_size=1, max_size=8).filter(sum), seed=st.integers(0, 3))
@settings(max_examples=25)
def test_blocks_of_any_size_give_the_same_hits(libraries, speech_like, dtype, blocks, seed):
    samples = pcm(speech_like(4, seed))
    whole = libraries[dtype].hits(samples, [len(samples)], 0.4)
    again = islice(cycle(blocks), len(blocks) * (len(samples) // sum(blocks) + 1))
    assert libraries[dtype].hits(samples, again, 0.4) == whole


FUZZ = """
#include <stdio.h>
#include <stdlib.h>
#include "wakeword.h"
static void ignore(const wakeword_hit *hit, void *hits) { *(int *)hits += hit->phrase >= 0; }
int main(void) {
    static int16_t samples[4000];
    int told = 0, hits = 0;
    unsigned long random = 1;
    for (int kind = 0; kind < 6; kind++) {
        wakeword_init(kind == 5 ? NULL : ignore, &told);
        wakeword_set_threshold(-1, 0.1f), wakeword_set_threshold(99, 0.1f);
        for (int phrase = 0; phrase < wakeword_phrase_count; phrase++) wakeword_set_threshold(phrase, 0.3f);
        for (int block = 0; block < 40; block++) {
            random = random * 1103515245ul + 12345ul & 0x7ffffffful;
            size_t count = random >> 8 & 1 ? random % 4000 : random % 7;
            for (size_t i = 0; i < count; i++) {
                random = random * 1103515245ul + 12345ul & 0x7ffffffful;
                int value[6] = {-32768, 32767, random >> 16 & 1 ? 32767 : -32768, (int)(random >> 15) - 32768, 0,
                                i / 40 % 2 ? 32767 : -32768};
                samples[i] = (int16_t)value[kind];
            }
            int found = wakeword_process(samples, count);
            hits += kind == 5 ? 0 : found;
            for (int phrase = -1; phrase <= wakeword_phrase_count; phrase++)
                if (!(wakeword_score(phrase) >= 0.0f && wakeword_score(phrase) <= 1.0f)) return 3;
        }
    }
    wakeword_process(NULL, 0);
    printf("%d %d\\n", told, hits);
    return told != hits;
}
"""


@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_sanitizers_find_nothing_in_odd_blocks_and_extreme_samples(compiler, directories, tmp_path, dtype):
    (tmp_path / "fuzz.c").write_text(FUZZ)
    sources = [str(path) for path in directories[dtype].glob("*.c") if path.name != "example.c"]
    flags = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", f"-I{directories[dtype]}"]
    program = str(tmp_path / "fuzz")
    subprocess.run([compiler, *flags, "-std=c99", "-o", program, str(tmp_path / "fuzz.c"), *sources, "-lm"], check=True)
    done = subprocess.run([program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) > 0, "nothing was heard: the fuzzing proves little"


def test_the_example_prints_the_hits_of_a_file_and_refuses_others(
    compiler, directories, libraries, tmp_path, speech_like
):
    folder = tmp_path / "c"
    shutil.copytree(directories["int8"], folder)
    subprocess.run(["make", "-s", "-C", str(folder)], check=True)
    samples = speech_like(10, 3)
    write_wav(tmp_path / "a.wav", samples)
    done = subprocess.run([folder / "example", tmp_path / "a.wav"], capture_output=True, text=True)
    heard = libraries["int8"].hits(pcm(read_audio(tmp_path / "a.wav")), repeat(160, 1000))
    names = ("one", "two", "three")
    assert done.stdout.splitlines() == [
        f"{at / 16000:.2f} s  {names[phrase]}  score {score:.4f}" for phrase, score, at in heard
    ]
    assert heard and not done.returncode
    (tmp_path / "b.wav").write_bytes(b"no sound")
    (tmp_path / "c.wav").write_bytes((tmp_path / "a.wav").read_bytes()[:30])
    backwards = b"RIFF....WAVELIST" + (2**32 - 8).to_bytes(4, "little")  # to a long of 32 bits -8: to itself, for ever
    (tmp_path / "d.wav").write_bytes(backwards)
    for name in ("b.wav", "c.wav", "d.wav", "none.wav"):
        done = subprocess.run([folder / "example", tmp_path / name], capture_output=True, text=True)
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and name in done.stderr


MICROPHONE = """
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
static size_t microphone(int16_t *samples) {
    size_t count = fread(samples, 2, 100, stdin);
    if (count == 0) exit(0);
    return count;
}
"""


def test_the_lines_of_the_documentation_hear_what_the_detector_does(
    compiler, directories, libraries, tmp_path, speech_like
):
    """As they stand there, with what they leave to the reader: a microphone, and main()."""
    lines = re.search(r"```c\n(.*?)```", DOCS, re.DOTALL)[1]
    before, between, after = lines.partition("wakeword_init(")
    text = f"{MICROPHONE}{before}int main(void) {{\n    static int16_t samples[100];\n    {between}{after}}}\n"
    (tmp_path / "main.c").write_text(text)
    folder, samples = directories["int8"], pcm(speech_like(10, 3))
    sources = [str(path) for path in folder.glob("*.c") if path.name != "example.c"]
    command = [compiler, *STRICT, f"-I{folder}", "-o", "hey", "main.c", *sources, "-lm"]
    subprocess.run(command, cwd=tmp_path, check=True)
    done = subprocess.run([tmp_path / "hey"], input=samples.tobytes(), capture_output=True)
    names, heard = ("one", "two", "three"), libraries["int8"].hits(samples, repeat(100, 1600))
    assert done.returncode == 0 and len(heard) > 1
    assert done.stdout.decode().splitlines() == [f"{names[phrase]}, score {score:.2f}" for phrase, score, _ in heard]


def machine(path: Path) -> int:
    """For which processors an object file is (ELF's `e_machine`)."""
    content = path.read_bytes()
    assert content[:4] == b"\x7fELF"
    return int.from_bytes(content[18:20], "little")


def test_other_flags_and_another_compiler_make_the_objects_anew(compiler, directories, tmp_path):
    folder = tmp_path / "c"
    shutil.copytree(directories["int8"], folder)
    made, make = folder / "ww_model.o", ["make", "-s", "-C", str(folder)]
    subprocess.run(make, check=True)
    host, first = machine(made), made.stat().st_mtime_ns
    subprocess.run(make, check=True)
    assert made.stat().st_mtime_ns == first and b".debug_info" not in made.read_bytes()
    subprocess.run([*make, "CFLAGS=-O1 -g -DNAME='\"a\"'"], check=True)
    assert b".debug_info" in made.read_bytes()
    if shutil.which(c_size.COMPILER) is None:
        pytest.skip(f"NO ARM COMPILER: {c_size.COMPILER} is absent, other flags alone were tried")
    documented = next(line for line in (folder / "Makefile").read_text().splitlines() if c_size.COMPILER in line)
    subprocess.run([*make, *shlex.split(documented.lstrip("# "))[1:]], check=True)
    assert machine(made) == 40 != host  # EM_ARM
    # The archive holds the new objects alone.
    listed = subprocess.run(["ar", "t", folder / "libwakeword.a"], capture_output=True, text=True, check=True).stdout
    assert sorted(listed.split()) == sorted(f"{path.stem}.o" for path in folder.glob("w*.c"))


@pytest.mark.parametrize("dtype", ["int8", "float32"])
@pytest.mark.parametrize("flags", [["-mcpu=cortex-m4", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"], ["-mcpu=cortex-m55"]])
def test_it_compiles_for_arm_without_a_warning(directories, tmp_path, dtype, flags):
    if shutil.which(c_size.COMPILER) is None:
        pytest.skip(f"NO ARM COMPILER: {c_size.COMPILER} is absent, this test did not run")
    sources = [str(path) for path in directories[dtype].glob("*.c") if path.name != "example.c"]
    done = subprocess.run(
        [c_size.COMPILER, *STRICT, "-O2", "-mthumb", *flags, "-c", *sources],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_the_directory_says_what_it_is(directories, several_files):
    told = json.loads((directories["int8"] / "model.json").read_text())
    assert told["dtype"] == "int8" and told["meta"] == load_wakeword(several_files[0])[1]
    assert told["parity"]["largest_difference"] < 0.04 and told["parity"]["seconds"] == pytest.approx(12)
    assert 5000 < told["flash"] < 30000 and 4000 < told["ram"] < 12000
    assert not [name for name in os.listdir(directories["int8"]) if name.endswith(".o")]


def test_float32_is_compared_with_the_model_before_it_is_written(
    compiler, directories, several_files, tmp_path, monkeypatch, capsys
):
    told = json.loads((directories["float32"] / "model.json").read_text())
    assert 0 < told["largest_difference"] < 1e-5 and told["warnings"] == []
    export = [several_files[0], "--format", "c", "--dtype", "float32", "--output", tmp_path / "c"]
    whole = c_writer.SOURCES
    for name, right, wrong in (
        ("ww_kernels_float32.c", "y += add[row];", "y -= add[row];"),
        ("ww_features_float32.c", "/ WW_SCALE", "/ (1.001f * WW_SCALE)"),
        ("ww_kernels_float32.c", "return sum;", "return sum - sum / 0.0f;"),
    ):
        changed = tmp_path / "changed"
        shutil.copytree(whole, changed)
        text = (changed / name).read_text()
        assert text.count(right) == 1
        (changed / name).write_text(text.replace(right, wrong))
        monkeypatch.setattr(c_writer, "SOURCES", changed)
        assert "differs by" in told_of(export, capsys)
        shutil.rmtree(changed)
    monkeypatch.setattr(c_writer, "SOURCES", whole)
    monkeypatch.setattr(c_writer, "COMPILER", "no-such-cc")
    assert os.listdir(tmp_path) == []
    report = export_c(several_files[0], tmp_path / "c", "float32")
    assert report["largest_difference"] is None and "no C compiler (no-such-cc)" in report["warnings"][0]
    about = json.loads((tmp_path / "c" / "model.json").read_text())
    assert about["warnings"] == report["warnings"] and about["largest_difference"] is None


def test_a_phrase_in_any_script_and_thresholds_as_they_are(compiler, tmp_path, several_files):
    """Names with quotes, trigraphs and other scripts; a float32 score reaches the float64 threshold in C too."""
    source = tmp_path / "m.wakeword"
    source.write_bytes(several_files[0].read_bytes())
    names = ['say "x"\\', "hey ??/ 2", "嘿,电脑"]
    thresholds = [0.1, 0.7, 1.0]
    entries = [
        {"phrase": name, "threshold": each, "calibration": None} for name, each in zip(names, thresholds, strict=True)
    ]
    rewrite_meta(source, {"phrases": entries, "refractory_s": 0.0, "smoothing_frames": 1})
    export_c(source, tmp_path / "c", "float32")
    library = CHost(tmp_path / "c", tmp_path / "m.so")
    assert library.names() == names
    for threshold in [*thresholds, 1e-9, np.pi / 4]:
        least = at_least(threshold)
        assert float(least) >= threshold > float(np.nextafter(least, np.float32(0)))


def test_floats_are_written_exactly():
    values = np.float32([0.1, -1e-30, 3, 1e20, 1 / 3])
    text = array("x", values).split("{")[1].split("}")[0]
    np.testing.assert_array_equal(np.float32([each.strip(" \nf") for each in text.split(",")]), values)


def told_of(arguments: list[str], capsys) -> str:
    assert main(["export", *map(str, arguments)]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    lines = [line for line in lines if not line.startswith("calibrating")]
    assert len(lines) == 1, lines
    return lines[0]


def test_bad_input_is_one_line_and_leaves_nothing(several_files, model_files, sounds, tmp_path, capsys):
    place = tmp_path / "out"
    common = [several_files[0], "--format", "c", "--output", place / "c"]
    calibrate = ["--calibrate-on", sounds]
    place.mkdir()
    assert "--calibrate-on" in told_of(common, capsys)
    assert "no such file" in told_of([*common, "--calibrate-on", tmp_path / "none"], capsys)
    assert "--budget-flash" in told_of([*common, *calibrate, "--budget-flash", "1K"], capsys)
    assert "--budget-ram" in told_of([*common, *calibrate, "--budget-ram", "1000"], capsys)
    assert "size '3X'" in told_of([*common, *calibrate, "--budget-ram", "3X"], capsys)
    told = told_of([model_files[1], *common[1:], *calibrate], capsys)
    assert "small.onnx: an exported model: give the .wakeword file" in told
    assert "float32 needs no audio" in told_of([*common, "--dtype", "float32", *calibrate], capsys)
    assert "--dtype belongs to --format c" in told_of(
        [several_files[0], "--output", place / "x", "--dtype", "int8"], capsys
    )
    for name in ("c.onnx", "c.TFLITE", "c.pte"):  # no verb would find the folder
        assert f"{name}: this format is a folder" in told_of(
            [*common[:3], "--output", place / name, *calibrate], capsys
        )
    (tmp_path / "bad.wav").write_bytes(b"x")
    assert "no audio to calibrate on" in told_of([*common, "--calibrate-on", tmp_path / "bad.wav"], capsys)
    assert os.listdir(place) == []
    (place / "c").mkdir()
    assert "is there already" in told_of([*common, *calibrate], capsys)
    assert os.listdir(place / "c") == []


def test_calibration_audio_that_is_too_short_or_says_nothing_is_told(
    several_files, sounds, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(c_size, "COMPILER", "none")  # not measured here: it takes seconds
    model, heard = tmp_path / "m.wakeword", tmp_path / "heard"
    shutil.copy(several_files[0], model)
    shutil.copytree(sounds, heard)
    write_wav(heard / "tick.wav", np.full(600, 0.1, np.float32))

    def warnings_of(name: str, *audio: Path) -> list[str]:
        command = ["export", str(model), "--format", "c", "--output", str(tmp_path / name), "--calibrate-on"]
        assert main([*command, *map(str, audio)]) == 0
        found = capsys.readouterr()
        assert ("skipped 1 file(s)" in found.out) == (heard in audio)
        told = [line.removeprefix("wakeword: warning: ") for line in found.err.splitlines() if "warning" in line]
        assert told == json.loads((tmp_path / name / "model.json").read_text())["warnings"]
        return told

    (told,) = warnings_of("little", heard)
    assert "calibrated on 12 s of audio alone" in told
    skipped = json.loads((tmp_path / "little" / "model.json").read_text())["skipped"]
    assert [f"{heard / 'tick.wav'}: shorter than 40 ms" in reason for reason in skipped.values()] == [True]
    write_wav(tmp_path / "long.wav", 1e-3 * np.random.default_rng(0).standard_normal(16000 * 61).astype(np.float32))
    assert warnings_of("enough", heard, tmp_path / "long.wav") == []
    phrases = [{**each, "threshold": 1.0} for each in load_wakeword(model)[1]["phrases"]]
    rewrite_meta(model, {"phrases": phrases})
    (told,) = warnings_of("unheard", heard, tmp_path / "long.wav")
    assert "heard no phrase in the calibration audio" in told
    common = [model, "--format", "c", "--output", tmp_path / "none", "--calibrate-on"]
    assert "no audio to calibrate on: skipped 1 file(s)" in told_of([*common, heard / "tick.wav"], capsys)


def test_features_that_c_cannot_compute_are_refused(tmp_path, small_model, wake_meta):
    meta = wake_meta()
    meta["features"]["fft"] = 600
    save_wakeword(tmp_path / "m.wakeword", small_model(1), meta)
    with pytest.raises(ConfigError, match="powers of two"):
        export_c(tmp_path / "m.wakeword", tmp_path / "c", "float32")
    assert os.listdir(tmp_path) == ["m.wakeword"]
    with pytest.raises(ConfigError, match="int8 or float32"):
        export_c(tmp_path / "m.wakeword", tmp_path / "c", "int4")
    with pytest.raises(ModelError):
        export_c(tmp_path, tmp_path / "c", "float32")


def test_sizes_are_counted_by_arrays_where_there_is_no_compiler(several_files, tmp_path, monkeypatch, directories):
    monkeypatch.setattr(c_size, "COMPILER", "no-such-gcc")
    report = export_c(several_files[0], tmp_path / "c", "float32")
    assert report["measured"] == "arrays" and "the arrays alone" in report["size"]
    whole = json.loads((directories["float32"] / "model.json").read_text())
    if whole["measured"] == "cortex-m4":
        assert report["flash"] < whole["flash"] < report["flash"] + 8000
        assert report["ram"] < whole["ram"] < report["ram"] + 1000


def test_sizes_in_words():
    assert [parse_size(each) for each in ("350K", "1.5m", "64kb", "99")] == [358400, 1572864, 65536, 99]
    for text in ("", "K", "-1", "0", "0.5", "1G", "nan", "9" * 400):
        with pytest.raises(WakewordError, match="size"):
            parse_size(text)


def test_a_real_clip_scores_as_with_torch(shared, libraries, several_files):
    path = sorted((shared / "wake-words" / "alexa").glob("*"))[0]
    samples = read_audio(path)
    for dtype, bound in (("int8", 0.05), ("float32", 1e-3)):
        libraries[dtype].reset()
        found, expected = libraries[dtype].scores(samples)[1], Detector.load(several_files[0]).scores(samples)[1]
        assert len(found) > 20 and np.ptp(expected) > 0.2
        np.testing.assert_allclose(found, expected, atol=bound)


@pytest.fixture
def embedded(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    return importlib.import_module("embedded")


def test_a_target_without_its_tools_says_which_packages_bring_them(compiler, embedded, directories, monkeypatch):
    monkeypatch.setattr(embedded.shutil, "which", lambda tool: None)
    results = embedded.tried(directories["int8"], np.zeros(8000, np.float32), ["m4", "rv32"])
    lines = embedded.table(results, 0.5).splitlines()
    assert "gcc-arm-none-eabi" in lines[-2] and "qemu-system-arm" in lines[-2] and "picolibc" in lines[-1]


@pytest.mark.parametrize("name", ["m4", "m55", "rv32", "aarch64"])
def test_an_emulated_processor_gives_the_hits_of_the_host(compiler, embedded, directories, speech_like, name):
    """Of each way to sum products, and of each instruction set; the m7 sums as the m4 does."""
    missing = [tool for tool in embedded.TARGETS[name].tools if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"NO {' AND NO '.join(missing)}: this test did not run")
    (_, host), (_, run) = embedded.tried(directories["int8"], speech_like(6, 3), [name])
    assert len(host.hits) >= 2 and embedded.agreement(host, run).startswith("as on the host"), run
    if name == "aarch64":  # a program with files, whose memory and instructions are not counted
        return
    told = json.loads((directories["int8"] / "model.json").read_text())
    if name == "m4":
        assert told["flash"] < run.flash < told["flash"] + 8000 and told["ram"] <= run.ram < told["ram"] + 2000
    assert 0 < run.stack < 2000 and 1e5 < run.instructions < 1e7 and run.most_in_10_ms > run.instructions / 100


def test_a_target_that_fails_leaves_the_others_results(compiler, embedded, directories, speech_like, monkeypatch):
    """One whose memory is too small, and one whose program stops."""
    small = dataclasses.replace(embedded.TARGETS["m55"], flash_bytes=9000)
    monkeypatch.setitem(embedded.TARGETS, "m55", small)
    monkeypatch.setattr(embedded.shutil, "which", lambda tool: tool)
    monkeypatch.setattr(embedded, "sizes", lambda *_: (20000, 5000))

    def command(arguments: list[str], folder: Path, what: str) -> str:
        if "-kernel" in arguments:
            return "fault"
        (folder / "program.map").touch()
        return "0.50 s  two  score 0.9000" if arguments[-1] == "clip.wav" else ""

    monkeypatch.setattr(embedded, "command", command)
    results = embedded.tried(directories["int8"], speech_like(1, 3), ["m55", "m4", "aarch64"])
    assert "20000 bytes of code and weights, the emulated board holds 9000" in results[1][1]
    assert results[2][1] == "the emulated program stopped: fault"
    assert results[3][1].hits == results[0][1].hits != ()
    assert "as on the host" in embedded.table(results, 1).splitlines()[-1]
    with pytest.raises(WakewordError, match="m55, m4: did not run"):
        embedded.check(results)


def test_hits_that_differ_are_not_said_to_agree(embedded):
    one, other, none = embedded.Run(((0, 640, 0.9),)), embedded.Run(((0, 1280, 0.9),)), embedded.Run(())
    assert embedded.agreement(one, other).startswith("NOT as on the host")
    assert embedded.agreement(one, none).startswith("NOT")
    assert embedded.agreement(none, none) == "none to compare"
    embedded.check([("host", one), ("m4", one)])
    for results, told in (
        ([("host", one), ("m4", other)], "hits differ"),
        ([("host", none), ("m4", none)], "no hit on the host"),
        ([("host", one), ("m4", one), ("m7", "no gcc")], "m7: did not run"),
    ):
        with pytest.raises(WakewordError, match=told):
            embedded.check(results)


def test_the_emulation_runs_on_clips_and_refuses_what_it_cannot_use(
    compiler, embedded, directories, sounds, tmp_path, capsys, monkeypatch
):
    def status(folder: Path, *options: str, audio: Path = sounds) -> int:
        return exit_status(lambda: embedded.main([str(folder), "--audio", str(audio), "--targets", "m4", *options]))

    monkeypatch.setattr(embedded.shutil, "which", lambda tool: None)
    assert status(directories["int8"], "--seconds", "11") == 2
    found = capsys.readouterr()
    assert "11.0 s of audio" in found.out and "| no arm-none-eabi-gcc" in found.out
    assert found.err.strip() == "wakeword: m4: did not run: see the table, or name others with --targets"
    for seconds in ("0", "nan", "-1"):
        with pytest.raises(SystemExit):
            status(directories["int8"], "--seconds", seconds)
        assert f"must be a number, above 0, not '{seconds}'" in capsys.readouterr().err
    other = tmp_path / "web"
    other.mkdir()
    shutil.copy(directories["int8"] / "model.json", other)
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"no sound")
    for folder, audio, told in (
        (other, sounds, "not a directory that 'wakeword export --format c' wrote"),
        (tmp_path, sounds, "not a folder that 'wakeword export' wrote"),
        (directories["int8"], bad, "no audio to run on: skipped 1 file(s)"),
    ):
        assert status(folder, audio=audio) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert told in line


def test_the_emulated_code_may_give_no_warning(compiler, embedded, directories, tmp_path, speech_like):
    folder = tmp_path / "c"
    shutil.copytree(directories["int8"], folder)
    write_wav(tmp_path / "clip.wav", speech_like(1, 3))
    embedded.hosted(folder, tmp_path, "host", compiler)
    with open(folder / "ww_model.c", "a") as file:
        file.write("static void unused(void) {}\n")
    with pytest.raises(WakewordError, match=f"host: {compiler} failed"):
        embedded.hosted(folder, tmp_path, "host", compiler)
