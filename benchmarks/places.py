"""How surely the acoustic models find a phrase in its clips: what the thresholds of align.py and spoken.py rest on.

    python benchmarks/places.py exp/manifests/wakewords-{alexa,computer,jarvis}_cuts.jsonl.gz [--acoustic base micro]

First: python recipes/pretrain/prepare.py --shared ../shared/corpora --out exp/manifests
The training clips alone are looked at, the phrase of each manifest is its clips' text. Prints a Markdown table: the
share below `HEARD` and below `SAID`; the same where each phrase is asked for in the others' clips; the median lateness
at the start and the end of each phrase, against energy; and the share whose end is more than 0.2 s off under white
noise at 5 dB, the place by energy in the clean clip being the truth: by energy, by the model, by `align.chosen`.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
import torch

from wakeword.acoustic.acoustic_file import load_acoustic
from wakeword.acoustic.align import HEARD, LATE_S, Heard, align, chosen, delay, spelled
from wakeword.audio.clips import find_clips, for_training, read_clips
from wakeword.audio.levels import active_power, active_span
from wakeword.audio.waveform import SAMPLE_RATE
from wakeword.cli import exit_status
from wakeword.errors import Skipped, WakewordError
from wakeword.features.log_mel import FeatureSettings
from wakeword.settings import from_dict
from wakeword.training.spoken import SAID

OFF_S = 0.2
SNR_DB = 5.0


def read(manifests: list[str]) -> dict[str, list[np.ndarray]]:
    """The training clips of each manifest, float32 `[samples]` each, by what they say.

    Raises:
        WakewordError: clips without a text, or none that can be read.
    """
    said: dict[str, list[np.ndarray]] = {}
    for manifest in manifests:
        for clip, samples in read_clips(for_training(find_clips([manifest])), Skipped()):
            if not clip.text:
                raise WakewordError(f"{clip.path}: its manifest does not say what it says")
            said.setdefault(clip.text, []).append(samples)
    return said


def confidences(heard: list[Heard | None]) -> list[float]:
    return [-np.inf if each is None else each.confidence for each in heard]


def places_of(heard: list[Heard | None]) -> tuple[np.ndarray, np.ndarray]:
    """Where the phrase counts as found, bool `[clips]`, and its starts and ends, float64 `[clips, 2]`."""
    places = [(np.nan, np.nan) if each is None else (each.start_s, each.end_s) for each in heard]
    return np.array(confidences(heard)) >= HEARD, np.array(places)


def noisy(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The clip amid a second of silence on either side, under white noise."""
    padded = np.pad(samples, SAMPLE_RATE)
    power = active_power(samples) / 10 ** (SNR_DB / 10)
    return padded + rng.normal(0, np.sqrt(power), len(padded)).astype(np.float32)


def off(spans, truth: np.ndarray) -> np.ndarray:
    return np.abs(np.array(spans)[:, 1] - truth) > OFF_S


def measured(acoustic: str, said: dict[str, list[np.ndarray]]) -> list[str]:
    """The table's row of a model."""
    model, meta = load_acoustic(acoustic)
    settings = from_dict(FeatureSettings, meta["features"], acoustic)
    rng = np.random.default_rng(0)
    own, others, late, wrong = [], [], [], [[], [], []]
    for phrase, clips in said.items():
        ids = spelled(phrase, meta)
        heard = align(model, settings, clips, ids)
        energy = np.array([active_span(samples) for samples in clips])
        own += confidences(heard)
        foreign = [samples for other, those in said.items() if other != phrase for samples in those]
        others += confidences(align(model, settings, foreign, ids))
        found, places = places_of(heard)
        late.append(np.median(places[found] - energy[found], axis=0))

        under = [noisy(samples, rng) for samples in clips]
        truth, by_energy = energy[:, 1] + 1.0, [active_span(samples) for samples in under]
        heard = align(model, settings, under, ids)
        found, places = places_of(heard)
        by_model = places - delay(places[found], np.array(by_energy)[found])
        for kept, spans in zip(wrong, (by_energy, by_model, chosen(by_energy, heard).spans), strict=True):
            kept.extend(off(spans, truth))
    own, others = np.array(own), np.array(others)
    shares = [(own < HEARD).mean(), (own < SAID).mean(), (others < HEARD).mean(), (others < SAID).mean()]
    lateness = [", ".join(f"{each[edge]:.2f}" for each in late) for edge in (0, 1)]
    shown = [*(f"{share:.1%}" for share in shares), *lateness, *(f"{np.mean(each):.0%}" for each in wrong)]
    return [acoustic, str(len(own)), *shown]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifests", nargs="+")
    parser.add_argument("--acoustic", nargs="+", default=["base", "micro"])
    args = parser.parse_args()
    return exit_status(lambda: show(args), "places")


def show(args: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    said = read(args.manifests)
    heads = [
        "model",
        "clips",
        *(f"{whose} {least:g}" for whose in ("below", "others below") for least in (HEARD, SAID)),
    ]
    heads += [f"late, start ({LATE_S[0]:g} s)", f"late, end ({LATE_S[1]:g} s)"]
    heads += ["end off in noise: energy", "the model", "chosen"]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for acoustic in args.acoustic:
        print(f"| {' | '.join(measured(acoustic, said))} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
