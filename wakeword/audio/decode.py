"""Files to blocks at their own rate and channel count, by libsndfile or, for what it does not know, ffmpeg."""

from __future__ import annotations

import shutil
import struct
import subprocess
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from wakeword.errors import AudioError

BLOCK = 65536
DAMAGED = "damaged (an Ogg page fails its checksum)"
CUT_OFF = "truncated (its last Ogg page is cut off)"
FFMPEG_RATE = 16000
FFMPEG_PATIENCE_S = 30.0

_BIT_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def decoded_blocks(
    path: Path, start_s: float = 0.0, duration_s: float | None = None
) -> Iterator[tuple[int, np.ndarray]]:
    """Decode (a part of) a file to (rate in Hz, float32 [n, channels]) blocks.

    Raises:
        AudioError: the file is missing, a folder, empty, no audio, or damaged. Damage inside an Ogg file is looked
            for only where the file is read whole; an MP3 may lack up to a second of what its header states.
    """
    duration_ok = duration_s is None or 0 < duration_s < float("inf")
    if not (0 <= start_s < float("inf") and duration_ok):
        raise AudioError(
            f"{path}: a start of {start_s} s and a duration of {duration_s} s make no part of a file: "
            "start at 0 or later and take more than 0 s"
        )
    try:
        if path.is_dir():
            raise AudioError(f"{path}: a folder, where one audio file is wanted: name a file in it")
        if path.stat().st_size == 0:
            raise AudioError(f"{path}: empty (0 bytes): copy or record it again")
        with open(path, "rb") as file:
            if duration_s is None and not start_s and (fault := _ogg_fault(file)):
                raise AudioError(f"{path}: {fault}: copy or record it again")
            if _wav_cut_off(file, path.stat().st_size):
                raise AudioError(f"{path}: truncated (shorter than its WAV header says): copy or record it again")
    except FileNotFoundError as error:
        raise AudioError(f"{path}: no such file: check the spelling") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AudioError(f"{str(path)!r}: cannot be read ({reason}): check its name and permissions") from error
    try:
        file = soundfile.SoundFile(path)
    except (RuntimeError, TypeError, ValueError) as error:  # TypeError: a name in .raw, where soundfile asks for a rate
        yield from _by_ffmpeg(path, start_s, duration_s, error)
        return
    with file:
        yield from _by_libsndfile(path, file, start_s, duration_s)


def _wav_cut_off(file: BinaryIO, size: int) -> bool:
    """Whether the data chunk of a RIFF WAVE file reaches beyond the file's end, which libsndfile passes over.

    A data chunk of no known length (0, or about 2 or 4 GiB, as programs that write to a pipe leave it) is no fault.
    """
    file.seek(0)
    head = file.read(12)
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return False
    position = 12
    while len(chunk := file.read(8)) == 8:
        length = int.from_bytes(chunk[4:], "little")
        position += 8
        if chunk[:4] == b"data":
            return 0 < length < 2**31 - 2**16 and position + length > size
        position += length + length % 2
        file.seek(position)
    return False


def _by_libsndfile(
    path: Path, file: soundfile.SoundFile, start_s: float, duration_s: float | None
) -> Iterator[tuple[int, np.ndarray]]:
    rate = file.samplerate
    skip = round(start_s * rate)
    wanted = np.inf if duration_s is None else max(1, round(duration_s * rate))
    expected = min(wanted, file.frames - skip)
    if expected <= 0:
        return
    done = 0
    try:
        if skip:
            file.seek(skip)
        while done < wanted:
            block = file.read(int(min(BLOCK, wanted - done)), dtype="float32", always_2d=True)
            if not len(block):
                break
            done += len(block)
            yield rate, block
    except RuntimeError as error:
        said = str(error).rpartition(": ")[2].rstrip(".")
        raise AudioError(f"{path}: damaged after {done / rate:.1f} s ({said}): copy or record it again") from error
    # An MP3's header often states a little more than there is, and a Vorbis encoder's last page may too.
    slack = rate if file.format in ("MP3", "MPEG", "OGG") else 0
    if done < expected - slack:
        raise AudioError(
            f"{path}: damaged: {done / rate:.1f} s of its {expected / rate:.1f} s can be read: copy or record it again"
        )


def _ogg_fault(file: BinaryIO) -> str:
    """What is wrong with the pages of an Ogg file (RFC 3533): a checksum, or the last one's end; empty if nothing.

    Decoders conceal lost Opus packets without a word, and a clip with a hole would train as if it were whole.
    The checksum is CRC-32 with the polynomial of zlib's, but in the other bit order and from zero.
    """
    while True:
        header = file.read(27)
        if len(header) < 27 or header[:4] != b"OggS":
            # Bytes between or behind the pages (tags) are no sign of damage before this place, unless another page
            # follows. What does not even begin with a page is not Ogg.
            if header[:4] == b"OggS":
                return CUT_OFF
            return DAMAGED if file.tell() > 27 and b"OggS" in file.read(BLOCK) else ""
        lacing = file.read(header[26])
        page = header[:22] + bytes(4) + header[26:] + lacing + file.read(sum(lacing))
        if len(lacing) < header[26] or len(page) < 27 + len(lacing) + sum(lacing):
            return CUT_OFF
        crc = zlib.crc32(page.translate(_BIT_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
        if int(f"{crc:032b}"[::-1], 2) != struct.unpack("<I", header[22:26])[0]:
            return DAMAGED


def _by_ffmpeg(
    path: Path, start_s: float, duration_s: float | None, reason: Exception
) -> Iterator[tuple[int, np.ndarray]]:
    program = shutil.which("ffmpeg")
    if program is None:
        said = str(reason).rpartition(": ")[2].rstrip(".") or "not recognised"
        raise AudioError(
            f"{path}: not audio that can be read here ({said}): WAV, FLAC, Ogg, Opus and MP3 always can; "
            "for others (M4A, AAC, WebM, AMR) install the program ffmpeg"
        )
    command = [program, "-nostdin", "-v", "error", "-xerror", "-protocol_whitelist", "file,pipe"]
    command += ["-ss", f"{start_s:.6f}"] if start_s else []
    command += ["-t", f"{duration_s:.6f}"] if duration_s is not None else []
    # The prefix keeps a name such as `-x` or `http:x` a file's name.
    command += ["-i", f"file:{path}", "-vn", "-f", "f32le", "-ac", "1", "-ar", str(FFMPEG_RATE), "-"]
    late = threading.Event()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as decoder:
        notes: list[bytes] = []
        # ffmpeg would block on a full pipe of complaints if nobody read them.
        reader = threading.Thread(target=lambda: notes.append(decoder.stderr.read()), daemon=True)
        reader.start()

        def give_up() -> None:
            late.set()
            decoder.kill()

        data = b"-"
        try:
            while data:
                timer = threading.Timer(FFMPEG_PATIENCE_S, give_up)
                timer.start()
                try:
                    data = decoder.stdout.read(4 * BLOCK)
                finally:
                    timer.cancel()
                if len(data) >= 4:
                    yield FFMPEG_RATE, np.frombuffer(data[: len(data) // 4 * 4], "<f4").reshape(-1, 1)
        finally:
            if data:  # the caller has enough
                decoder.kill()
            reader.join()
    if late.is_set():
        raise AudioError(f"{path}: ffmpeg gave nothing for {FFMPEG_PATIENCE_S:.0f} s: copy or record it again")
    if decoder.returncode:
        lines = b"".join(notes).decode(errors="replace").strip().splitlines() or [f"status {decoder.returncode}"]
        said = lines[-1].rpartition(": ")[2]
        raise AudioError(f"{path}: not audio, or damaged (ffmpeg: {said}): copy or record it again")
