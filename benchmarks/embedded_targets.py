"""The processors that `embedded.py` tries: compilers, emulated boards, and the Debian packages that bring them."""

from __future__ import annotations

from dataclasses import dataclass

GCC_ARM = "gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm"
GCC_RV32 = "gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf qemu-system-misc"
ARM = ("arm-none-eabi-gcc", "qemu-system-arm")
RV32 = ("riscv64-unknown-elf-gcc", "qemu-system-riscv32")


@dataclass(frozen=True)
class Target:
    """A processor: its compiler and emulator, the Debian packages that bring them, flags and memory.

    `cycles` is an assumed number of cycles an instruction on a real part whose code and weights lie in flash behind a
    cache or in RAM: nobody measured it here. `clock_hz` is the emulated board's, by which its timer is read;
    `flash_bytes` is the memory that it has at `flash_at`.
    """

    name: str
    tools: tuple[str, str]
    packages: str
    flags: tuple[str, ...] = ()
    machine: tuple[str, ...] = ()
    flash_at: int = 0
    flash_bytes: int = 4 << 20
    ram_at: int = 0x20000000
    clock_hz: int = 25_000_000
    cycles: float = 1.0


TARGETS = {
    "m4": Target(
        "Cortex-M4F (mps2-an386)",
        ARM,
        GCC_ARM,
        ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"),
        ("-M", "mps2-an386"),
        cycles=1.3,
    ),
    "m7": Target(
        "Cortex-M7 (mps2-an500)",
        ARM,
        GCC_ARM,
        ("-mcpu=cortex-m7", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv5-sp-d16"),
        ("-M", "mps2-an500"),
        cycles=0.8,
    ),
    "m55": Target(
        "Cortex-M55 (mps3-an547)",
        ARM,
        GCC_ARM,
        ("-mcpu=cortex-m55", "-mthumb", "-mfloat-abi=hard"),
        ("-M", "mps3-an547"),
        flash_bytes=512 << 10,
        clock_hz=32_000_000,
        cycles=1.5,
    ),
    "rv32": Target(
        "RV32IMAFC (virt)",
        RV32,
        GCC_RV32,
        ("-march=rv32imafc", "-mabi=ilp32f", "--specs=picolibc.specs"),
        ("-M", "virt", "-bios", "none"),
        flash_at=0x80000000,
        flash_bytes=16 << 20,
        ram_at=0x81000000,
        cycles=1.3,
    ),
    "rv32-soft": Target(
        "RV32IMAC, no FPU (virt)",
        RV32,
        GCC_RV32,
        ("-march=rv32imac", "-mabi=ilp32", "--specs=picolibc.specs"),
        ("-M", "virt", "-bios", "none"),
        flash_at=0x80000000,
        flash_bytes=16 << 20,
        ram_at=0x81000000,
        cycles=1.3,
    ),
    "aarch64": Target(
        "aarch64 (qemu-user)",
        ("aarch64-linux-gnu-gcc", "qemu-aarch64"),
        "gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user",
    ),
}
