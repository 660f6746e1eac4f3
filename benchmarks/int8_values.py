"""What 8 bits cost in place of 16, value by value, in the network of `wakeword export --format litert-int8`.

    python benchmarks/int8_values.py computer.wakeword --calibrate-on clips/ speech/ noise/ \\
        --positives test-clips/ --negatives hours-of-speech/ --noise noise/ --json > computer.json
    python benchmarks/int8_values.py alexa.wakeword ... --with computer.json --output values.md

All variants hear one stream, as in parity.py: the network with 16-bit values, with one kind of value at 8 bits, and
with more and more of them; beside them the float model, and in LiteRT the network with 16-bit values and the file that
`export` writes. Weights are int8 in all but the float model. Differences, and hits in common, are those from the first.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from int8_rounding import POSTERIORS, Place, eight_of, int8_layers, places_of, rounded_step
from machine import about, add_outputs, machine, markdown, publish
from parity_sum import summed

from wakeword.cli import bar, exit_status
from wakeword.detector.detector import Detector, output_of
from wakeword.errors import Skipped, WakewordError
from wakeword.export.calibration import calibration_audio, in_steps
from wakeword.export.layers import Layer, flat, initial_pasts
from wakeword.export.litert_graph import litert_graph, litert_model
from wakeword.export.litert_units import LOGIT, LOGITS, Int8, int8_of, mixed_units
from wakeword.export.parity import beside, tracks_of
from wakeword.export.quantise import feature_range, float_step, peaks_of, scales_of
from wakeword.features.log_mel import FeatureSettings, extract
from wakeword.head.transfer import load_wakeword
from wakeword.model.litert import DIGEST, add_metadata, packed, running_litert
from wakeword.model.runtimes import Step
from wakeword.verbs.parity import SPLIT_HELP, heard_arguments, material

ALL_16, FLOAT, LITERT_16, FILE = "none", "(the float model)", "(none, in LiteRT)", "(the file, in LiteRT)"
TOGETHER = {
    "features and logits": ("features", LOGITS),
    "and the head": ("head",),
    "and the first layer": ("first layer",),
    "and the encoder's terms": ("encoder: terms",),
    "and its states and residual stream": ("encoder: states", "encoder: residual"),
    "everything": ("encoder",),
}
"""In this order more and more values have 8 bits: those whose names begin so. The second is what `export` writes."""


def variants(layers: list[Layer], heard: list[np.ndarray], settings: FeatureSettings) -> dict[str, tuple[Step, list]]:
    """Each network's step and zero state, by what has 8 bits in it; the first is the one that has none."""
    clips = [extract(samples, settings) for samples in heard]
    peaks = peaks_of(layers, map(in_steps, clips))
    units = scales_of(layers, peaks, settings)
    rounded, last = int8_layers(layers), ("value", len(layers))
    eight = eight_of(rounded, clips) | {("value", 0): int8_of(*feature_range(settings)), last: LOGIT}
    places = {**places_of(layers), LOGITS: {last}}
    zero = initial_pasts(layers)

    def at_8(chosen: set[Place], posterior: Int8 | None = None) -> tuple[Step, list]:
        return rounded_step(rounded, units, {place: eight[place] for place in chosen}, posterior), zero

    found = {ALL_16: at_8(set())} | {name: at_8(each) for name, each in places.items()}
    found |= {name: at_8(set(), unit) for name, unit in POSTERIORS.items()}
    chosen: set[Place] = set()
    for told, starts in TOGETHER.items():
        chosen = chosen.union(*(each for name, each in places.items() if name.startswith(starts)))
        found[told] = at_8(chosen)
    found[FLOAT] = float_step(layers)
    for name, given in ((LITERT_16, (units, None)), (FILE, mixed_units(layers, peaks, settings))):
        made = litert_model(litert_graph(layers, given[0], settings.mels, given[1]))
        add_metadata(made, DIGEST, b"")
        found[name] = running_litert(packed(made))[:2]
    return found


def abreast(steps: list[tuple[Step, list]], output: int, meta: dict) -> Detector:
    """One detector whose phrases are what each of several networks hears of one phrase, from the same features."""
    entry = {**meta["phrases"][output], "calibration": None}
    phrases = [{**entry, "phrase": f"{number}"} for number in range(len(steps))]

    def step(frames: np.ndarray, states: list) -> tuple[np.ndarray, list]:
        found = [each(frames, state) for (each, _), state in zip(steps, states, strict=True)]
        return np.stack([posteriors[:, output] for posteriors, _ in found], axis=1), [state for _, state in found]

    return Detector(step, [zero for _, zero in steps], {**meta, "phrases": phrases})


def measured(said: argparse.Namespace, given: dict, skipped: Skipped) -> dict:
    """Of each variant what lies between it and the one of 16 bits, as a parity card has it."""
    model, meta = load_wakeword(said.model)
    settings, names = FeatureSettings(**meta["features"]), [each["phrase"] for each in meta["phrases"]]
    output, rate = output_of(given.pop("phrase"), names), given.pop("fa_per_hour")
    networks = variants(flat(model), calibration_audio(said.calibrate_on, skipped, bar()), settings)
    detector = abreast([*networks.values()], output, meta)
    heard = tracks_of(detector, **given, skipped=skipped, progress=bar())
    threshold = meta["phrases"][output]["threshold"]
    return {
        name: {"threshold": threshold}
        | beside(
            {condition: (tracks[0], tracks[number]) for condition, tracks in heard.items()},
            threshold,
            detector.refractory_s,
            rate,
            meta["smoothing_frames"],
        )
        for number, name in enumerate(networks)
    }


def rows(cards: list[dict]) -> list[dict]:
    """The table's rows, of one model or summed over several."""
    found = []
    for name in cards[0]:
        told = [each[name] for each in cards if name in each]
        row = {"8 bits": name}
        for heard in told[0]["heard"]:
            each = summed(heard, told)
            row[f"{heard}: largest, mean difference"] = each["largest, mean difference"]
            row[f"{heard}: hits, in common"] = f"{each['hits, exported']}, {each['in common']}"
            at = [text for key, text in each.items() if key.startswith("at ") and key.endswith("exported")]
            if at:
                row[f"{heard}: missed at {told[0]['fa_per_hour']:g} FA/h"] = at[0]
        found.append(row)
    return found


def page(found: dict) -> str:
    """The report as Markdown."""
    cards = [each[ALL_16] for each in found["values"]]
    clips, hours = (sum(each[key] for each in cards) for key in ("clips", "hours"))
    text = f"{len(cards)} model(s), {clips} clips, {hours:.2f} h of negatives. {found['skipped']}".strip()
    return "\n".join([about(found["machine"]), "", text, "", markdown(rows(found["values"]))])


def earlier(path: Path) -> list[dict]:
    """What a run with --json found.

    Raises:
        WakewordError: it is no such file.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))["values"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WakewordError(f"{path}: not what int8_values.py --json prints: make it first") from error


def main() -> None:
    parser = argparse.ArgumentParser(
        description=f"{__doc__}{SPLIT_HELP}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL.wakeword")
    heard_arguments(parser)
    parser.add_argument("--calibrate-on", nargs="+", required=True, metavar="PATH", help="audio that sets the ranges")
    parser.add_argument("--with", nargs="+", type=Path, default=[], dest="others", metavar="JSON", help="add these")
    add_outputs(parser)
    said, skipped = parser.parse_args(), Skipped()
    others = [each for path in said.others for each in earlier(path)]  # before anything is heard
    found = {"machine": machine(), "values": [measured(said, material(said), skipped), *others]}
    publish(found | {"skipped": skipped.summary()}, page, said)


if __name__ == "__main__":
    raise SystemExit(exit_status(main))
