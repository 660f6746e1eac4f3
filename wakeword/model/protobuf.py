"""The little of protobuf's wire format (https://protobuf.dev/programming-guides/encoding) that ONNX files need here.

With it an exported model is rewritten, checked and cut in two on a base install, which has no onnx package.
"""

from __future__ import annotations

from collections.abc import Iterator

from wakeword.errors import ModelError


def fields(message: bytes | memoryview) -> Iterator[tuple[int, bytes, bytes]]:
    """(tag, the field with its tag, its value) of a message of integers and length-delimited fields.

    Raises:
        ModelError: a field of another wire type.
    """
    end = 0
    while end < len(message):
        start = end
        tag, at = _varint(message, start)
        number, end = _varint(message, at)
        if tag & 7 == 2:
            at, end = end, end + number
        elif tag & 7 != 0:
            raise ModelError(f"an ONNX file with a field of wire type {tag & 7}: export it again")
        yield tag, message[start:end], message[at:end]


def field(tag: int, value: bytes) -> bytes:
    """A length-delimited field; tags are 8 x field number + 2, below 128 here."""
    size, encoded = len(value), [tag]
    while size > 127:
        encoded.append(size & 127 | 128)
        size >>= 7
    return bytes([*encoded, size]) + value


def _varint(message: bytes | memoryview, at: int) -> tuple[int, int]:
    end = next(i for i in range(at, len(message)) if message[i] < 128) + 1
    return sum((byte & 127) << 7 * i for i, byte in enumerate(message[at:end])), end
