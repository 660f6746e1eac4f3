"""What the tests share: where the recordings lie, speech-like audio, small models with lively normalisation."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

try:
    import torch
except ImportError:  # the base install: its tests need none of the models below
    torch = None
else:
    torch.set_num_threads(1)

# Machines differ in speed and a training may run beside; slowness is no failure.
settings.register_profile("wakeword", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("wakeword")

SHARED = Path(__file__).parents[1] / ".." / "shared" / "corpora"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real recordings."""
    if not SHARED.is_dir():
        pytest.skip(f"NO REAL RECORDINGS: {SHARED} is absent, this test did not run")
    return SHARED


@pytest.fixture(scope="session")
def train_word(shared, tmp_path_factory):
    """`train_word(word, clips, readers, **settings)`: a detector's file, trained on clips and so many readers of
    LibriSpeech, new layers alone, and what `train` gave back."""
    from wakeword.training.train import train
    from wakeword.training.train_config import Phrase, TrainConfig

    def make(word: str, clips: list[str], readers: int, **settings):
        output = tmp_path_factory.mktemp("trained") / f"{word}.wakeword"
        found = sorted((shared / "LibriSpeech" / "train-clean-5").iterdir())
        trained = train(
            TrainConfig(
                phrases=(Phrase(word, tuple(clips)),),
                negatives=tuple(str(reader) for reader in found[:readers]),
                noise=(str(shared / "noise" / "speech-commands"),),
                unfreeze="none",
                budget="2 per h",
                output=str(output),
                negative_copies=1,
                threads=1,
                **settings,
            )
        )
        return output, trained

    return make


@pytest.fixture(scope="session")
def speech_like():
    """`speech_like(seconds, seed)`: voiced and noisy stretches of changing pitch and level, float32 `[samples]`."""

    def make(seconds: float, seed: int = 0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        count = int(round(seconds * 16000))
        pieces = [np.zeros(0)]
        while sum(map(len, pieces)) < count:
            time = np.arange(int(rng.integers(400, 4000))) / 16000
            pitch = rng.uniform(90, 260)
            tone = sum(np.sin(2 * np.pi * pitch * h * time + rng.uniform(0, 6)) / h for h in range(1, 12))
            noise = rng.standard_normal(len(time))
            kind = rng.choice([0, 1, 2], p=[0.55, 0.25, 0.2])
            piece = (tone, noise, 0.01 * noise)[kind] * 10 ** rng.uniform(-2, -0.7)
            pieces.append(piece * np.sin(np.pi * (np.arange(len(time)) + 0.5) / len(time)))
        return np.concatenate(pieces)[:count].astype(np.float32)

    return make


@pytest.fixture(scope="session")
def sounds(tmp_path_factory, speech_like) -> Path:
    """A folder of recordings for an export to calibrate on."""
    from wakeword.audio.waveform import write_wav

    folder = tmp_path_factory.mktemp("sounds")
    for seed in range(3):
        write_wav(folder / f"{seed}.wav", speech_like(4, seed))
    return folder


@pytest.fixture
def one_hour(monkeypatch):
    """The module recipes/one_hour/run.py, imported anew."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "recipes" / "one_hour"))
    sys.modules.pop("run", None)
    import run

    yield run
    sys.modules.pop("run", None)


@pytest.fixture(scope="session")
def small_sizes():
    """Encoder sizes of which not every block is a tap and whose dilations repeat nothing by chance."""
    from wakeword.acoustic.encoder import EncoderSizes

    return EncoderSizes(mels=16, stem=12, channels=20, separable=True, dilations=(1, 2, 1, 3), taps=(1, 4))


@pytest.fixture(scope="session")
def lively():
    """`lively(model, seed)`: the model in eval mode, with statistics and scales of normalisation far from 0 and 1."""

    def make(model, seed: int = 0):
        generator = torch.Generator().manual_seed(seed)

        def uniform(like, low, high):
            return low + (high - low) * torch.rand(like.shape, generator=generator)

        with torch.no_grad():
            for module in model.modules():
                if isinstance(module, torch.nn.BatchNorm1d):
                    module.running_mean.copy_(uniform(module.running_mean, -0.4, 0.4))
                    module.running_var.copy_(uniform(module.running_var, 0.3, 1.5))
                    if module.affine:
                        module.weight.copy_(uniform(module.weight, 0.6, 1.6))
                        module.bias.copy_(uniform(module.bias, -0.3, 0.3))
                elif isinstance(module, torch.nn.Linear):
                    bound = 1.5 / module.in_features**0.5
                    module.weight.copy_(uniform(module.weight, -bound, bound))
        return model.eval()

    return make


@pytest.fixture(scope="session")
def small_model(lively, small_sizes):
    """`small_model(seed, head, sizes)`: a random wake model in eval mode whose posteriors move about."""
    from wakeword.head.layers import HeadSizes, WakeModel

    def make(seed: int = 0, head: HeadSizes | None = None, sizes=None) -> WakeModel:
        torch.manual_seed(seed)
        model = lively(WakeModel(sizes or small_sizes, head or HeadSizes(depth=3, channels=8)), seed)
        # Each output centred on the audio it will hear, so that thresholds have something to cut.
        noise = torch.randn(1, 800, model.encoder.sizes.mels, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            model.head.output.bias.zero_()
            logits = model(noise)[0]
            spread = logits.std(dim=0).clamp(min=1e-3)
            model.head.output.weight.div_(spread[:, None])
            model.head.output.bias.copy_(-logits.mean(dim=0) / spread)
        return model

    return make


@pytest.fixture(scope="session")
def wake_meta():
    """`wake_meta(mels, said, **changes)`: the meta of a wake model, as training writes it, for the phrases `said`."""
    from wakeword.features.log_mel import FeatureSettings

    def make(mels: int = 16, said: tuple[str, ...] = ("hello",), **changes) -> dict:
        settings = dataclasses.asdict(FeatureSettings(mels=mels))
        phrases = [{"phrase": phrase, "threshold": 0.5, "calibration": None} for phrase in said]
        return {"phrases": phrases, "smoothing_frames": 3, "refractory_s": 1.0, "features": settings, **changes}

    return make


@pytest.fixture(scope="session")
def model_files(tmp_path_factory, small_model, wake_meta):
    """A small model as `(path of the .wakeword file, path of the .onnx file)`; tests must not change them."""
    from wakeword.export import export_onnx
    from wakeword.head.transfer import save_wakeword

    folder = tmp_path_factory.mktemp("model")
    save_wakeword(folder / "small.wakeword", small_model(), wake_meta())
    export_onnx(folder / "small.wakeword", folder / "small.onnx")
    return folder / "small.wakeword", folder / "small.onnx"


@pytest.fixture(scope="session")
def several_files(tmp_path_factory, small_model, wake_meta):
    """As `model_files`, a model of the phrases "one", "two" and "three"."""
    from wakeword.export import export_onnx
    from wakeword.head.layers import HeadSizes
    from wakeword.head.transfer import save_wakeword

    folder = tmp_path_factory.mktemp("several")
    model = small_model(4, HeadSizes(depth=3, channels=8, outputs=3))
    save_wakeword(folder / "several.wakeword", model, wake_meta(said=("one", "two", "three")))
    export_onnx(folder / "several.wakeword", folder / "several.onnx")
    return folder / "several.wakeword", folder / "several.onnx"


@pytest.fixture(scope="session")
def calibrated_entry():
    """`calibrated_entry(phrase, budget, thresholds)`: a phrase's entry of a meta, with a curve.

    Its points lie a factor of ten apart, the budget's in the middle of them.
    """
    from wakeword.evaluation.calibrate import Calibration, calibrated
    from wakeword.model.curve import Point

    def make(phrase: str, budget: float, thresholds: tuple[float, ...]) -> dict:
        middle = len(thresholds) // 2
        budgets = [budget * 10.0 ** (index - middle) for index in range(len(thresholds))]
        curve = [
            Point(each, threshold, each, each, (0.0, 2 * each), each < 1, 20, 3, (0.05, 0.36))
            for each, threshold in zip(budgets, thresholds, strict=True)
        ]
        chosen = Calibration(
            budget, thresholds[middle], budget, budget, (0.0, 2 * budget), hours=5.0, curve=tuple(curve)
        )
        return calibrated({"phrase": phrase, "threshold": 0.5, "calibration": None}, chosen)

    return make


@pytest.fixture(scope="session")
def curved_files(tmp_path_factory, several_files, calibrated_entry):
    """As `several_files`, calibrated: "one" for 0.5 false alarms an hour, "two" for 0.05, "three" for 2."""
    from wakeword.model.checkpoint import rewrite_meta, rewrite_onnx_meta

    folder = tmp_path_factory.mktemp("curved")
    phrases = [
        calibrated_entry("one", 0.5, (0.95, 0.9, 0.5)),
        calibrated_entry("two", 0.05, (0.99, 0.8, 0.6)),
        calibrated_entry("three", 2.0, (0.7, 0.6, 0.1)),
    ]
    for source, rewrite in zip(several_files, (rewrite_meta, rewrite_onnx_meta), strict=True):
        (folder / source.name).write_bytes(source.read_bytes())
        rewrite(folder / source.name, {"phrases": phrases})
    return tuple(folder / source.name for source in several_files)


@pytest.fixture(scope="session")
def write_corpus():
    """`write_corpus(folder, recordings, ...)`: WAV files and their lhotse manifest; returns the manifest's path."""
    import lhotse

    from wakeword.audio.waveform import write_wav

    def make(folder: Path, recordings: dict, texts=None, speakers=None, splits=None, name="cuts.jsonl.gz") -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        cuts = []
        for key, samples in recordings.items():
            write_wav(folder / f"{key}.wav", samples)
            recording = lhotse.Recording.from_file(folder / f"{key}.wav", recording_id=key)
            cut = recording.to_cut()
            cut.id = key
            speaker = (speakers or {}).get(key, "someone")
            text = (texts or {}).get(key, "")
            cut.supervisions = [
                lhotse.SupervisionSegment(key, key, 0.0, recording.duration, text=text, speaker=speaker, language="en")
            ]
            cut.custom = {"corpus": "made", "licence": "none", "split": (splits or {}).get(key, "train")}
            cuts.append(cut)
        lhotse.CutSet.from_cuts(cuts).to_file(folder / name)
        return folder / name

    return make


@pytest.fixture(scope="session")
def fake_teacher():
    """In the place of `teacher.load_teacher`: a teacher of three numbers a frame."""
    from wakeword.pretraining.teacher import Teacher

    def load(name: str, *ignored) -> Teacher:
        return Teacher(
            name, lambda samples: np.stack([np.arange(-(-len(samples) // 640)) % 7] * 3, axis=1).astype(np.float32)
        )

    return load


@pytest.fixture(scope="session")
def shard_corpus(tmp_path_factory, write_corpus, speech_like):
    """The manifest of 130 utterances `u0` ... of 26 speakers, 13 of them of the split "test"."""
    names = [f"u{i}" for i in range(130)]
    return write_corpus(
        tmp_path_factory.mktemp("corpus"),
        {name: speech_like(0.5 + 0.01 * index, index) for index, name in enumerate(names)},
        texts={name: ("abc", "5", "")[index % 3] for index, name in enumerate(names)},
        speakers={name: f"s{index % 26}" for index, name in enumerate(names)},
        splits={name: "test" if index % 10 == 0 else "train" for index, name in enumerate(names)},
    )


@pytest.fixture(scope="session")
def shard_folder(shard_corpus, fake_teacher, tmp_path_factory):
    """Five shards of it with the frames of the teacher "fake"; tests must not change them."""
    from data_prep.shard import write_shards
    from wakeword.pretraining import teacher

    out = tmp_path_factory.mktemp("shards") / "made"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(teacher, "load_teacher", fake_teacher)
        made = write_shards([str(shard_corpus)], out, "fake", str(out.parent / "teacher"), shard_size=30)
    assert (made.shards, made.cuts, len(made.skipped)) == (5, 130, 0)
    return str(out)
