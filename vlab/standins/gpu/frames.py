"""Frames between the stand-in GPU and its driver, over one stream of bytes each way.

A frame is eight bytes of head (magic, kind, length, channel; little endian) and at most PAYLOAD
bytes. A process in the guest that opens the device has a channel of its own, so that several use
one GPU at a time. The same in C: ``vlab/standins/nvidia/driver/nvidia.c``.

A machine that is reset or killed stops in the middle of a frame. Its successor therefore begins
with more zeros than a frame is long, which are nothing where a frame may begin, and a RESET; what
comes from the device before the answer to that is left over from somebody else.

>>> parts = Parts()
>>> parts.feed(frame(Kind.OPEN, 7) + frame(Kind.DATA, 7, b"status"))
[(<Kind.OPEN: 1>, 7, b''), (<Kind.DATA: 2>, 7, b'status')]
"""

import struct
from enum import IntEnum

MAGIC = 0x4E
PAYLOAD = 4080
_HEAD = struct.Struct("<BBHI")


class Kind(IntEnum):
    """What a frame is."""

    OPEN = 1  # a process has opened the device
    DATA = 2
    CLOSE = 3  # from the driver: it has closed it; from the device: there is no more
    RESET = 4  # forget every channel; the device answers with the same eight bytes of payload


_KINDS = frozenset(int(kind) for kind in Kind)

Frame = tuple[Kind, int, bytes]


def frame(kind: Kind, channel: int, payload: bytes = b"") -> bytes:
    """The bytes of a frame."""
    return _HEAD.pack(MAGIC, kind, len(payload), channel) + payload


class Parts:
    """Takes a stream apart."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are complete with these bytes; what is none is passed over."""
        self._rest += data
        found: list[Frame] = []
        while (start := self._rest.find(MAGIC)) >= 0:
            del self._rest[:start]
            if len(self._rest) < _HEAD.size:
                return found
            _, kind, length, channel = _HEAD.unpack_from(self._rest)
            if kind not in _KINDS or length > PAYLOAD:
                del self._rest[0]
                continue
            if len(self._rest) < _HEAD.size + length:
                return found
            payload = bytes(self._rest[_HEAD.size : _HEAD.size + length])
            del self._rest[: _HEAD.size + length]
            found.append((Kind(kind), channel, payload))
        self._rest.clear()
        return found
