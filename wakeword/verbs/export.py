"""The verb `export`: a trained model in the formats of other programs and machines."""

from __future__ import annotations

import argparse
from pathlib import Path

from wakeword.cli import bar, json_flag, say, show, verb
from wakeword.errors import WakewordError, require


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL.wakeword")
    parser.add_argument(
        "--format",
        choices=["onnx", "onnx-int8", "c", "litert", "litert-int8", "esphome", "executorch", "web"],
        default="onnx",
        help="onnx, onnx-int8: a graph for ONNX Runtime (onnx); c: a directory of C99 for microcontrollers; litert and "
        "litert-int8: a graph for LiteRT and TensorFlow Lite Micro; esphome: a folder for ESPHome's micro_wake_word; "
        "executorch: a .pte file; web: a folder for a web server (docs/export.md)",
    )
    parser.add_argument("--output", required=True, metavar="FILE.onnx|DIR|FILE.tflite|FILE.pte")
    only = parser.add_argument_group("for --format c, litert, litert-int8 and esphome")
    only.add_argument("--dtype", choices=["int8", "float32"], help="of the weights; for c alone (int8)")
    only.add_argument(
        "--calibrate-on",
        nargs="+",
        metavar="PATH",
        help="for int8: clips of the phrase, speech and noise that set the ranges; ten minutes of them are heard",
    )
    only.add_argument("--budget-flash", metavar="SIZE", help="refuse a model that takes more, such as 350K or 1M")
    only.add_argument("--budget-ram", metavar="SIZE", help="the same for static RAM, such as 64K")
    esphome = parser.add_argument_group("for --format esphome")
    esphome.add_argument("--language", nargs="+", metavar="CODE", help="of the phrase, for the manifest (en)")
    web = parser.add_argument_group("for --format web")
    web.add_argument(
        "--runtime", metavar="FOLDER", help="of the npm package onnxruntime-web (the nearest node_modules)"
    )
    json_flag(parser)


@verb(
    "export",
    "The same model for elsewhere",
    "wakeword export computer.wakeword --format onnx --output computer.onnx",
    _export_arguments,
)
def _export(args) -> None:
    require("torch")
    small = ("calibrate_on", "budget_flash", "budget_ram")
    known = {"c": ("dtype", *small), "litert": small[1:], "litert-int8": small}
    known |= {"esphome": (*small, "language"), "web": ("runtime",)}
    for name in ("dtype", *small, "language", "runtime"):
        if getattr(args, name) is not None and name not in known.get(args.format, ()):
            formats = ", ".join(each for each in known if name in known[each])
            raise WakewordError(f"--{name.replace('_', '-')} belongs to --format {formats}: add that, or leave it out")
    if args.format == "web":
        return _export_web(args)
    if args.format in known:
        return _export_small(args)
    if args.format == "executorch":
        from wakeword.export.executorch_writer import export_executorch

        difference = export_executorch(args.model, args.output)
    else:
        from wakeword.export import export_onnx

        difference = export_onnx(args.model, args.output, args.format == "onnx-int8")
    report = {"output": args.output, "largest_difference": difference, "bytes": Path(args.output).stat().st_size}
    text = f"{args.output}: {report['bytes']} bytes, posteriors within {difference:.1e} of {args.model}"
    show(report, args.json, text)


def _export_web(args) -> None:
    from wakeword.export.web_writer import export_web

    report = export_web(args.model, args.output, args.runtime)
    graph = f"{report['bytes']} bytes, within {report['largest_difference']:.1e} of {args.model}"
    show(report, args.json, f"{args.output}: a graph of {graph}; ONNX Runtime Web {report['runtime_version']}")


def _export_small(args) -> None:
    from wakeword.export.c_size import parse_size
    from wakeword.export.c_writer import export_c
    from wakeword.export.esphome_writer import export_esphome
    from wakeword.export.litert_writer import export_litert

    budgets = {name: getattr(args, name) for name in ("budget_flash", "budget_ram")}
    small = {name: None if each is None else parse_size(each) for name, each in budgets.items()}
    small |= {"calibrate_on": args.calibrate_on or (), "progress": bar()}
    if args.format == "esphome":
        report = export_esphome(args.model, args.output, **small, languages=args.language or ("en",))
    elif args.format == "c":
        report = export_c(args.model, args.output, args.dtype or "int8", **small)
    else:
        dtype = "int8" if args.format == "litert-int8" else "float32"
        report = export_litert(args.model, args.output, dtype, **small)
    for warning in report["warnings"]:
        say(f"warning: {warning}")
    lines = [
        f"{args.output}: {report['dtype']}, {report['flash']} bytes of flash, {report['ram']} of RAM",
        f"({report['size']})",
        report["summary"],
        f"skipped {len(report['skipped'])} file(s)" if report["skipped"] else "",
    ]
    show(report, args.json, "\n".join(line for line in lines if line))
