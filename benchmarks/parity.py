"""A trained model exported in each format, all of them beside it on the same audio: a table for docs/export.md.

    python benchmarks/parity.py computer.wakeword --calibrate-on clips/ speech/ noise/ \\
        --positives test-clips/ --negatives hours-of-speech/ --noise noise/ --output parity.md

It is `wakeword parity` for all formats at once: one stream, which the float model (torch) hears once. A format whose
packages are not installed is left out, and the page says why. With --keep the exported models stay, each with the
result in its card.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from machine import about, add_outputs, machine, markdown, publish

from wakeword.cli import bar, exit_status
from wakeword.detector.detector import Detector, output_of
from wakeword.errors import Skipped, WakewordError
from wakeword.evaluation.parity_card import SIDES, difference
from wakeword.evaluation.report import false_alarms_text, missed_text
from wakeword.export import export_onnx
from wakeword.export.c_writer import export_c
from wakeword.export.esphome_writer import export_esphome
from wakeword.export.executorch_writer import export_executorch
from wakeword.export.litert_writer import export_litert
from wakeword.export.parity import NEGATIVES, host_of, measure, write
from wakeword.export.web_writer import export_web
from wakeword.files import check_new
from wakeword.verbs.parity import SPLIT_HELP, heard_arguments, material

Export = Callable[[str, Path, argparse.Namespace], object]
FORMATS: dict[str, tuple[str, Export]] = {
    "onnx": ("onnx.onnx", lambda model, path, _: export_onnx(model, path)),
    "onnx-int8": ("onnx-int8.onnx", lambda model, path, _: export_onnx(model, path, integer=True)),
    "litert": ("litert.tflite", lambda model, path, _: export_litert(model, path, "float32")),
    "litert-int8": ("litert-int8.tflite", lambda model, path, said: export_litert(model, path, *int8(said))),
    "esphome": ("esphome", lambda model, path, said: export_esphome(model, path, said.calibrate_on)),
    "executorch": ("executorch.pte", lambda model, path, _: export_executorch(model, path)),
    "c, float32": ("c-float32", lambda model, path, _: export_c(model, path, "float32")),
    "c, int8": ("c-int8", lambda model, path, said: export_c(model, path, *int8(said))),
    "web": ("web", lambda model, path, said: export_web(model, path, said.runtime)),
}
"""What each exports to, and how; a further format needs a line here and a case in `export.parity.host_of`."""


def int8(said: argparse.Namespace) -> tuple:
    return "int8", said.calibrate_on


def exported(said: argparse.Namespace, folder: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """The exported models that run here by format, and why the other formats are not among them."""
    made, absent, progress = {}, {}, bar()
    for number, (name, (place, export)) in enumerate(FORMATS.items()):
        progress("exporting", number / len(FORMATS))
        if name not in said.formats:
            continue
        try:
            export(said.model, folder / place, said)
            with TemporaryDirectory() as library:
                host_of(folder / place, Path(library) / "model.so")
        except WakewordError as error:
            absent[name] = str(error)
        else:
            made[name] = folder / place
    progress("exporting", 1.0)
    return made, absent


def rows(name: str, told: dict) -> list[dict]:
    """The table's rows of a format: each condition's, and the negatives'."""
    found = []
    for heard, each in told["heard"].items():
        row = {"format": name, "heard": heard}
        row["largest, mean difference"] = f"{difference(each['largest_difference'])}, {each['mean_difference']:.1e}"
        row |= {f"hits, {side}": each["hits"][side] for side in SIDES}
        row["in common"] = each["hits"]["in_common"]
        text, key = (false_alarms_text, "false_alarms") if heard == NEGATIVES else (missed_text, "missed")
        row |= {f"missed, {side}": text(each[key][side]) for side in SIDES}
        at = each.get("missed_at", {})
        row |= {f"at {told['fa_per_hour']:g} FA/h, {side}": at.get(side) and missed_text(at[side]) for side in SIDES}
        found.append(row)
    return found


def page(found: dict) -> str:
    """The report as Markdown."""
    lines = [about(found["machine"]), ""]
    told = next(iter(found["parity"].values()))
    lines.append(
        f"'{found['phrase']}' of {found['model']} at its threshold, {told['threshold']:.4f}; {told['clips']} clips, "
        f"{told['hours']:.2f} h of negatives. Scores are means of {told['smoothing_frames']} posteriors. "
        f"{told['note'] + '. ' if told['note'] else ''}{found['skipped']}".strip()
    )
    lines += ["", markdown([row for name, each in found["parity"].items() for row in rows(name, each)]), ""]
    lines += [f"- {name}: {each['runtime']}" for name, each in found["parity"].items()]
    lines += [f"- {name}: not measured: {why}" for name, why in found["absent"].items()]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=f"{__doc__}{SPLIT_HELP}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL.wakeword")
    heard_arguments(parser)
    parser.add_argument("--calibrate-on", nargs="+", default=(), metavar="PATH", help="audio that sets int8's ranges")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=[*FORMATS], metavar="FORMAT", help="(all)")
    parser.add_argument("--runtime", metavar="FOLDER", help="of onnxruntime-web, as for 'export --format web'")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave the exported models here, a new folder")
    add_outputs(parser)
    said = parser.parse_args()
    phrases, skipped = Detector.load(said.model).phrases, Skipped()
    phrase = phrases[output_of(said.phrase, phrases)]
    given = material(said)  # before anything is exported
    with ExitStack() as stack:
        if said.keep:
            check_new(said.keep)
        folder = said.keep or Path(stack.enter_context(TemporaryDirectory()))
        made, absent = exported(said, folder)
        if not made:
            raise WakewordError(f"none of {len(absent)} format(s) runs here: {next(iter(absent.values()))}")
        parity = measure(said.model, [*made.values()], **given, skipped=skipped, progress=bar())
        for path, each in zip(made.values(), parity, strict=True):
            write(path, phrase, each)
    found = {"machine": machine(), "model": Path(said.model).name, "phrase": phrase}
    found |= {"parity": dict(zip(made, parity, strict=True)), "absent": absent, "skipped": skipped.summary()}
    publish(found, page, said)


if __name__ == "__main__":
    raise SystemExit(exit_status(main))
