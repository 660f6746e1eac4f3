"""An exported C directory on emulated processors: `python benchmarks/embedded.py DIR --audio PATHS --targets m4 m7`.

For each target it compiles the directory, runs it in QEMU on the audio, and tells whether the hits are those of the
host, flash and RAM by the linker's map, the stack's high-water mark, and instructions a second of audio. QEMU counts
instructions (`-icount shift=0`), not cycles: the MHz are an estimate, for which see `Target.cycles`.
"""

from __future__ import annotations

import argparse
import math
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, STDOUT

import numpy as np
from embedded_targets import TARGETS, Target

from wakeword.audio.clips import find_clips, for_development, read_clips
from wakeword.audio.waveform import pcm16, write_wav
from wakeword.cli import exit_status, number, say
from wakeword.errors import ModelError, Skipped, WakewordError
from wakeword.model.folders import read_folder

HERE = Path(__file__).parent / "embedded"
RAM_BYTES = 256 * 1024
HARNESS = ("main.c", "start.c")
HARNESS_BYTES = 8192  # more than its code takes
STRICT = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror")


@dataclass(frozen=True)
class Run:
    """What a target made of the audio: hits as (phrase, samples, score), bytes, and instructions a second of audio."""

    hits: tuple[tuple[int, int, float], ...]
    flash: int | None = None
    ram: int | None = None
    stack: int | None = None
    instructions: float | None = None
    most_in_10_ms: int | None = None


def command(arguments: list[str], folder: Path, what: str) -> str:
    """What a program prints, on standard output and error (QEMU takes the latter for semihosting).

    Raises:
        WakewordError: it fails, or takes longer than ten minutes.
    """
    try:
        done = subprocess.run(arguments, cwd=folder, stdout=PIPE, stderr=STDOUT, text=True, timeout=600)
    except subprocess.TimeoutExpired as error:
        raise WakewordError(f"{what}: {arguments[0]} took longer than {error.timeout:.0f} s: give less audio") from None
    if done.returncode:
        raise WakewordError(f"{what}: {arguments[0]} failed: {(done.stdout.strip().splitlines() or ['no word'])[-1]}")
    return done.stdout


def hosted(exported: Path, folder: Path, what: str, compiler: str, emulator: tuple[str, ...] = ()) -> Run:
    """The example program on a machine with files, emulated or this one."""
    sources = [str(path) for path in sorted(exported.glob("*.c"))]
    static = ["-static"] if emulator else []
    command([compiler, *STRICT, "-O2", *static, "-o", "example", *sources, "-lm"], folder, what)
    names = read_folder(exported)["meta"]["phrases"]
    numbers = {each["phrase"]: number for number, each in enumerate(names)}
    lines = command([*emulator, "./example", "clip.wav"], folder, what).splitlines()
    found = [re.fullmatch(r"(\S+) s  (.*)  score (\S+)", line) for line in lines]
    return Run(tuple((numbers[each[2]], round(float(each[1]) * 16000), float(each[3])) for each in found))


def bare(
    exported: Path,
    folder: Path,
    target: Target,
    ram_bytes: int = RAM_BYTES,
    strict: tuple[str, ...] = STRICT,
    objects: tuple[str, ...] = (),
) -> Run:
    """A program without an operating system, which reads the audio by semihosting; `objects` are linked to it."""
    sources = [path for path in sorted(exported.glob("*.c")) if path.name != "example.c"]
    places = {"flash_at": target.flash_at, "ram_at": target.ram_at, "ram_bytes": ram_bytes}
    compiler, emulator = target.tools
    flags = ["-O2", *target.flags, "-ffunction-sections", "-fdata-sections"]
    ours = ["-std=gnu99", f"-DCLOCK_HZ={target.clock_hz}u", f"-I{exported}", f"-I{HERE}"]
    for path, special in [*((HERE / name, ours) for name in HARNESS), *((path, strict) for path in sources)]:
        command([compiler, *flags, *special, "-c", str(path)], folder, target.name)
    command(
        [
            *(compiler, *flags, "-nostartfiles", f"-T{HERE / 'memory.ld'}"),
            *(f"-Wl,--defsym={name}={value}" for name, value in places.items()),
            *("-Wl,--gc-sections", "-Wl,-Map=program.map", "-o", "program.elf"),
            *(f"{Path(path).stem}.o" for path in [*HARNESS, *sources]),
            *objects,
            "-lm",
        ],
        folder,
        target.name,
    )
    flash, ram = sizes((folder / "program.map").read_text(), target, ram_bytes)
    if flash > target.flash_bytes - HARNESS_BYTES:
        raise WakewordError(
            f"{target.name}: {flash} bytes of code and weights, the emulated board holds {target.flash_bytes}: "
            "export int8, or a smaller model (--acoustic micro)"
        )
    output = command(
        [
            *(emulator, *target.machine, "-kernel", "program.elf", "-icount", "shift=0"),
            *("-display", "none", "-monitor", "none", "-serial", "none"),
            *("-semihosting-config", "enable=on,target=native"),
        ],
        folder,
        target.name,
    )
    said: dict[str, list[int]] = {}
    for line in output.splitlines():
        key, _, value = line.partition(" ")
        if not value.isdecimal():
            raise WakewordError(f"{target.name}: the emulated program stopped: {line}")
        said.setdefault(key, []).append(int(value))
    if not said.get("samples", [0])[0]:
        raise WakewordError(f"{target.name}: the emulated program heard nothing: {output.strip()[:100]}")
    hits = zip(said.get("phrase", []), said.get("at", []), said.get("score", []), strict=True)
    return Run(
        tuple((phrase, at, score / 1e6) for phrase, at, score in hits),
        flash,
        ram,
        said["stack"][0],
        said["instructions"][0] / (said["samples"][0] / 16000),
        said["most"][0],
    )


def sizes(text: str, target: Target, ram_bytes: int = RAM_BYTES) -> tuple[int, int]:
    """Bytes of flash and RAM by a linker's map: of the exported files and the C library, without the harness."""
    flash = ram = 0
    text = text[text.index("Linker script and memory map") :]
    for name, at, size, owner in re.findall(r"^ (\.\S+)\s+0x([0-9a-f]+)\s+0x([0-9a-f]+) (\S+)$", text, re.MULTILINE):
        at, size = int(at, 16), int(size, 16)
        if owner in ("main.o", "start.o") or name.startswith((".debug", ".comment", ".riscv", ".ARM.attributes")):
            continue
        if target.ram_at <= at < target.ram_at + ram_bytes:
            ram += size
            flash += size if ".data" in name or ".sdata" in name else 0
        else:
            flash += size
    return flash, ram


def tried(exported: Path, audio: np.ndarray, names: list[str]) -> list[tuple[str, Run | str]]:
    """The host and each target on float32 `[samples]`; of a target that cannot run, why."""
    results: list[tuple[str, Run | str]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_wav(folder / "clip.wav", audio)
        (folder / "clip.pcm").write_bytes(pcm16(audio))
        results.append(("host", hosted(exported, folder, "host", "cc")))
        run: Run | str
        for name in names:
            target = TARGETS[name]
            missing = [tool for tool in target.tools if shutil.which(tool) is None]
            if missing:
                results.append((name, f"no {' and no '.join(missing)}: apt-get install {target.packages}"))
                continue
            try:
                if target.machine:
                    run = bare(exported, folder, target)
                else:
                    run = hosted(exported, folder, target.name, target.tools[0], (target.tools[1],))
            except WakewordError as error:  # the others' results stand
                run = str(error).removeprefix(f"{target.name}: ")
            results.append((name, run))
    return results


def table(results: list[tuple[str, Run | str]], seconds: float) -> str:
    """A Markdown table."""
    host = results[0][1]
    lines = [
        f"{seconds:.1f} s of audio, {len(host.hits)} hit(s) on the host.",
        "",
        "| target | hits | flash, bytes | RAM | stack | instructions/s | most in 10 ms | MHz for the mean, estimated "
        "| MHz if each 10 ms block must be done in 10 ms, estimated |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, run in results[1:]:
        target = TARGETS[name]
        if isinstance(run, str):
            lines.append(f"| {target.name} | {run} | | | | | | | |")
            continue
        cells = [target.name, agreement(host, run)]
        if run.flash is None:
            cells += [""] * 7
        else:
            mhz, most_mhz = (each * target.cycles / 1e6 for each in (run.instructions, 100 * run.most_in_10_ms))
            cells += [f"{each:,}" for each in (run.flash, run.ram, run.stack)]
            cells += [f"{run.instructions / 1e6:.1f} M", f"{run.most_in_10_ms:,}"]
            cells += [f"{mhz:.0f} (at {target.cycles:g} cycles an instruction)", f"{most_mhz:.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def agreement(host: Run, run: Run) -> str:
    """Whether phrases and times are the host's, and how far the scores lie apart."""
    if [hit[:2] for hit in host.hits] != [hit[:2] for hit in run.hits]:
        return f"NOT as on the host: {len(run.hits)}"
    if not host.hits:
        return "none to compare"
    apart = max([abs(one[2] - other[2]) for one, other in zip(host.hits, run.hits, strict=True)], default=0.0)
    # The example on the host prints four decimals, rounded.
    return f"as on the host ({len(run.hits)}; scores {'to four decimals' if apart < 6e-5 else f'within {apart:.0e}'})"


def check(results: list[tuple[str, Run | str]]) -> None:
    """Refuse to call agreement what is none.

    Raises:
        WakewordError: hits differ, there was none to compare, or a target did not run.
    """
    (_, host), *others = results
    if any(isinstance(run, Run) and agreement(host, run).startswith("NOT") for _, run in others):
        raise WakewordError("hits differ from the host's: see the table")
    if not host.hits:
        raise WakewordError("no hit on the host, so nothing was compared: give --audio clips of the phrase")
    absent = [name for name, run in others if isinstance(run, str)]
    if absent:
        raise WakewordError(f"{', '.join(absent)}: did not run: see the table, or name others with --targets")


def chosen_audio(paths: list[str], seconds: float) -> np.ndarray:
    """The first so many seconds of the clips that PATHs name, those kept for testing left out, one after the other.

    Raises:
        WakewordError: a path that is not there, or no clip that can be read.
    """
    heard, left, skipped = [], math.ceil(seconds * 16000), Skipped()
    for _, samples in read_clips(for_development(find_clips(paths)), skipped, check=False):
        heard.append(samples[:left])
        left -= len(heard[-1])
        if not left:
            break
    if not sum(map(len, heard)):
        raise WakewordError(f"no audio to run on: {skipped.summary() or 'the recordings are empty'}")
    if skipped:
        say(skipped.summary(), "embedded")
    return np.concatenate(heard)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("exported", metavar="DIR", type=Path, help="what 'wakeword export --format c' wrote")
    parser.add_argument("--audio", nargs="+", required=True, metavar="PATH", help="clips, heard one after the other")
    parser.add_argument(
        "--seconds", type=number(float, above=0), default=60.0, help="of audio, from the first clips (60)"
    )
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=list(TARGETS))
    args = parser.parse_args(argv)
    exported = args.exported.absolute()
    read_folder(args.exported)
    if not (exported / "ww_model.c").is_file():
        raise ModelError(f"{args.exported}: not a directory that 'wakeword export --format c' wrote")
    audio = chosen_audio(args.audio, args.seconds)
    results = tried(exported, audio, args.targets)
    print(table(results, len(audio) / 16000), flush=True)
    check(results)


if __name__ == "__main__":
    raise SystemExit(exit_status(main))
