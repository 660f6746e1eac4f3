"""Compilers of networks beside exported C: `python benchmarks/compilers.py DIR --graphs G.onnx --audio PATHS`.

DIR is what `wakeword export --format c --dtype float32` wrote, a graph what `--format onnx` or `onnx-int8` wrote of the
same model, of one phrase. Each compiler makes a network of each graph; with the features and the detector of DIR around
it, it runs on an emulated Cortex-M4F with more memory than a real one has. docs/export.md tells what came of it.
"""

from __future__ import annotations

import argparse
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from embedded import HERE, Run, bare, chosen_audio, command
from embedded_targets import TARGETS

from wakeword.audio.waveform import pcm16
from wakeword.cli import exit_status, number, say
from wakeword.errors import ModelError, WakewordError, require
from wakeword.model.folders import read_folder

TARGET = TARGETS["m4"]
RAM_BYTES = 2_000_000
GENERATED = ("-std=gnu11", "-w")
KEEP_INT8 = ("--iree-opt-const-eval=false", "--iree-opt-const-expr-hoisting=false")
STATIC_LIBRARY = (
    *("--iree-hal-target-device=local", "--iree-hal-local-target-device-backends=llvm-cpu"),
    *("--iree-llvmcpu-target-triple=thumbv7em-none-eabihf", "--iree-llvmcpu-target-cpu=cortex-m4"),
    *("--iree-llvmcpu-link-embedded=false", "--iree-llvmcpu-link-static"),
)


def fixed(graph: Path, to: Path) -> tuple[int, int]:
    """Write the graph for one step at a time; how many floats its features and its state have.

    Raises:
        ModelError: not a graph that `wakeword export` wrote.
    """
    onnx = require("onnx")
    try:
        model = onnx.load(str(graph))
        sizes = []
        for value in [*model.graph.input, *model.graph.output]:
            dims = value.type.tensor_type.shape.dim
            for dim in dims:
                if dim.dim_param:
                    dim.dim_value = {"frames": 4, "steps": 1}[dim.dim_param]
            sizes.append(dims[1].dim_value * (dims[2].dim_value if len(dims) == 3 else 1))
        features, state, posterior, _ = sizes
    except Exception as error:
        raise ModelError(f"{graph}: not what 'wakeword export --format onnx' writes: {error}") from None
    if posterior != 1:
        raise ModelError(f"{graph}: {posterior} phrases: give a model of one")
    del model.metadata_props[:]
    onnx.save(onnx.shape_inference.infer_shapes(model), str(to))
    return features, state


def emx(graph: Path, network: Path, folder: Path) -> tuple[str, ...]:
    """By emx-onnx-cgen, into the directory `network`; no further objects."""
    options = ("--model-name", "network", "--large-weight-threshold", "0", "--large-temp-threshold", "0")
    command(["emx-onnx-cgen", "compile", *options, str(graph), str(network / "network.c")], folder, "emx-onnx-cgen")
    shutil.copy(HERE / "network_emx.c", network)
    return ()


def iree(graph: Path, network: Path, folder: Path) -> tuple[str, ...]:
    """By IREE, int8 weights as they are: its order of calls into `network`, its kernels an object beside it."""
    command(["iree-import-onnx", str(graph), "-o", "graph.mlir"], folder, "iree-import-onnx")
    options = [*STATIC_LIBRARY, *KEEP_INT8, "--iree-llvmcpu-static-library-output-path=kernels.o"]
    for form in (("--output-format=vm-c", "-o", "vm.h"), ("--compile-to=hal", "-o", "hal.mlir")):
        elided = ["--mlir-elide-elementsattrs-if-larger=8"] if "hal.mlir" in form else []
        command(["iree-compile", "graph.mlir", *options, *elided, *form], folder, "iree-compile")
    calls, names, sizes = steps((folder / "hal.mlir").read_text())
    weights = re.search(r"module__const\[\] = (\{.*?\});", (folder / "vm.h").read_text(), re.DOTALL)[1]
    declared = [f'extern kernel {symbol(name)} __asm__("{name}");' for name in names]
    lines = [*declared, f"static const uint8_t weights[] ALIGNED = {weights};", "static void step(void) {", *calls, "}"]
    (network / "kernels.h").write_text("\n".join(lines))
    with (network / "network.h").open("a") as file:
        file.write("#define TRANSIENT {}\n#define OUT {}\n".format(*sizes))
    shutil.copy(HERE / "network_iree.c", network)
    shown = [f"--globalize-symbol={name}" for name in names]
    command(["arm-none-eabi-objcopy", *shown, "kernels.o", "shown.o"], folder, "objcopy")
    return (str(folder / "shown.o"),)


def symbol(name: str) -> str:
    return name.replace("$", "_")


def steps(text: str) -> tuple[list[str], list[str], tuple[int, int]]:
    """From IREE's program at the level of its HAL: statements of C, names of kernels, bytes of its two buffers."""
    text = text[text.index("hal.command_buffer.create") :]
    names = dict(re.findall(r"%(function_id\w*) = .*?::@\w+::@([\w$]+)\)", text))
    buffers = {"%c0": "features", "%c1": "state", "%c2": "out", "%c3": "transient"}
    copy = r"copy_buffer<.*?source\((\S+) : index\)\[%c(\d+)\] target\((\S+) : index\)\[%c(\d+)\] length\(%c(\d+)\)"
    dispatch = (
        r"dispatch<.*?\[%(function_id\w*)\] workgroups\(\[%c(\d+), %c1, %c1\]\)"
        r"(?: constants\(\[(.*?)\]\))? bindings\(\[(.*?)\]\)"
    )
    calls, lengths = [], {}
    for found in re.finditer(rf"command_buffer\.(?:{copy}|{dispatch})", text, re.DOTALL):
        source, start, target, at, length, function, workgroups, constants, bindings = found.groups()
        if function is None:
            calls.append(f"    memcpy({buffers[target]} + {at}, {buffers[source]} + {start}, {length});")
            continue
        given = re.findall(r"%c(\d+)_i32", constants or "")
        bound = re.findall(r"\((\S+) : [^)]*\)\[%c(\d+), %c(\d+)\]", bindings)
        lengths |= {name: int(length) for name, _, length in bound}
        places = [f"(void *)({buffers.get(name, 'weights')} + {at})" for name, at, _ in bound]
        arrays = [("const uint32_t", given or ["0"]), ("void *const", places), ("const size_t", [b[2] for b in bound])]
        first, second, third = (f"({kind}[]){{{', '.join(values)}}}" for kind, values in arrays)
        counted = f"{workgroups}, {len(given)}, {first}, {len(bound)}"
        calls.append(f"    run({symbol(names[function])}, {counted}, {second}, {third});")
    return calls, list(names.values()), (lengths["%c3"], lengths["%c2"])


COMPILERS: dict[str, tuple[Callable[[Path, Path, Path], tuple[str, ...]], tuple[str, ...], str]] = {
    "emx": (emx, ("emx-onnx-cgen",), "emx-onnx-cgen==1.4.0"),
    "iree": (iree, ("iree-import-onnx", "iree-compile"), "iree-base-compiler==3.13.0 onnx"),
}


def compiled(name: str, exported: Path, graph: Path, pcm: bytes) -> Run:
    """One compiler's network of one graph, with the features and the detector of `exported` around it.

    Raises:
        WakewordError: a tool is not there, or fails.
    """
    compiler, tools, packages = COMPILERS[name]
    missing = [tool for tool in (*tools, *TARGET.tools) if shutil.which(tool) is None]
    if missing:
        raise WakewordError(f"no {' and no '.join(missing)}: pip install {packages}; apt-get install {TARGET.packages}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        network = folder / "network"
        shutil.copytree(exported, network)
        (network / "ww_kernels.c").unlink()
        tables, _, _ = (exported / "ww_model.c").read_text().partition("static const float weight_0")
        (network / "ww_model.c").write_text(tables)
        features, state = fixed(graph, folder / "graph.onnx")
        (network / "network.h").write_text(f"#define FEATURES {features}\n#define STATE {state}\n")
        objects = compiler(folder / "graph.onnx", network, folder)
        (folder / "clip.pcm").write_bytes(pcm)
        return bare(network, folder, TARGET, RAM_BYTES, GENERATED, objects)


def row(name: str, run: Run, ours: Run) -> str:
    same = [hit[:2] for hit in run.hits] == [hit[:2] for hit in ours.hits]
    cells = [name, f"{len(run.hits)}, {'the same' if same else 'NOT the same'}"]
    cells += [f"{each:,}" for each in (run.flash, run.ram, run.stack)]
    return "| " + " | ".join([*cells, f"{run.instructions / 1e6:.1f} M"]) + " |"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("exported", metavar="DIR", type=Path, help="of 'wakeword export --format c --dtype float32'")
    parser.add_argument("--graphs", nargs="+", required=True, metavar="ONNX", type=Path, help="of the same model")
    parser.add_argument("--audio", nargs="+", required=True, metavar="PATH", help="clips, heard one after the other")
    parser.add_argument("--seconds", type=number(float, above=0), default=30.0, help="of audio (30)")
    parser.add_argument("--compilers", nargs="+", choices=COMPILERS, default=list(COMPILERS))
    args = parser.parse_args(argv)
    read_folder(args.exported)
    model = args.exported / "ww_model.c"
    if not model.is_file() or "static const float weight_0" not in model.read_text():
        raise ModelError(f"{args.exported}: not a directory of 'wakeword export --format c --dtype float32'")
    exported, pcm = args.exported.absolute(), pcm16(chosen_audio(args.audio, args.seconds))
    with tempfile.TemporaryDirectory() as temporary:
        (Path(temporary) / "clip.pcm").write_bytes(pcm)
        ours = bare(exported, Path(temporary), TARGET)
    print("| network by | hits | flash, bytes | RAM | stack | instructions/s |\n|---|---|---|---|---|---|")
    print(row("wakeword, float32", ours, ours), flush=True)
    failed = 0
    for graph in args.graphs:
        for name in args.compilers:
            try:
                print(row(f"{name}, {graph.name}", compiled(name, exported, graph, pcm), ours), flush=True)
            except WakewordError as error:
                failed += 1
                say(f"{name}, {graph.name}: {error}", "compilers")
    if failed:
        raise WakewordError(f"{failed} did not run: see above")


if __name__ == "__main__":
    raise SystemExit(exit_status(main))
