"""Our kernels beside CMSIS-NN's, in instructions: `python benchmarks/cmsis_nn.py DIR --cmsis-nn FOLDER`.

DIR is what `wakeword export --format c` wrote in int8, FOLDER has sources and headers of CMSIS-NN 4.0.0 and of CMSIS
itself, as the package BakeNN does (docs/export.md); with `arm_nn_vec_mat_mult_t_s16.c` among them, so is that measured.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from embedded import HERE, RAM_BYTES, command
from embedded_targets import TARGETS, Target

from wakeword.cli import exit_status
from wakeword.errors import ModelError
from wakeword.model.folders import read_folder


def measured(exported: Path, cmsis: Path, target: Target, folder: Path) -> str:
    """What `embedded/kernels.c` prints on a target."""
    compiler, emulator = target.tools
    headers = [exported, HERE, *{path.parent for path in cmsis.rglob("*.h")}]
    theirs = sorted(cmsis.rglob("*.c"))
    with_s16 = ["-DWITH_S16"] if any(path.stem == "arm_nn_vec_mat_mult_t_s16" for path in theirs) else []
    sources = [HERE / "kernels.c", HERE / "start.c", exported / "ww_kernels.c", *theirs]
    command(
        [
            *(compiler, "-O2", *target.flags, "-std=gnu11", "-w", f"-DCLOCK_HZ={target.clock_hz}u", *with_s16),
            *(f"-I{path}" for path in headers),
            *("-ffunction-sections", "-nostartfiles", f"-T{HERE / 'memory.ld'}", "-Wl,--gc-sections"),
            *("-Wl,--defsym=flash_at=0", f"-Wl,--defsym=ram_at={target.ram_at}"),
            *(f"-Wl,--defsym=ram_bytes={RAM_BYTES}", "-o", "kernels.elf", *map(str, sources), "-lm"),
        ],
        folder,
        target.name,
    )
    emulated = ["-icount", "shift=0", "-display", "none", "-monitor", "none", "-serial", "none"]
    semihosting = ["-semihosting-config", "enable=on,target=native"]
    return command([emulator, *target.machine, "-kernel", "kernels.elf", *emulated, *semihosting], folder, target.name)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("exported", metavar="DIR", type=Path, help="what 'wakeword export --format c' wrote, int8")
    parser.add_argument("--cmsis-nn", required=True, metavar="FOLDER", type=Path, help="sources and headers")
    parser.add_argument("--targets", nargs="+", choices=["m4", "m7", "m55"], default=["m4", "m55"])
    args = parser.parse_args(argv)
    read_folder(args.exported)
    if not (args.exported / "ww_kernels.c").is_file() or "WW_INT8 1" not in (args.exported / "ww_config.h").read_text():
        raise ModelError(f"{args.exported}: not a directory that 'wakeword export --format c' wrote in int8")
    if not any(args.cmsis_nn.rglob("arm_fully_connected_s8.c")):
        raise ModelError(f"{args.cmsis_nn}: no sources of CMSIS-NN there: see docs/export.md")
    for name in args.targets:
        with tempfile.TemporaryDirectory() as folder:
            print(TARGETS[name].name)
            print(measured(args.exported.absolute(), args.cmsis_nn.absolute(), TARGETS[name], Path(folder)), flush=True)


if __name__ == "__main__":
    raise SystemExit(exit_status(main))
