"""How far a video's labels go, kept with the tracker's state, so that work can be taken up again.

A file that broke off may be whole the next time, and then has another checksum: what tells that
it is the same video is that its frames, as far as they were labelled, are the same.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass

from autolabel.types import Image


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a video stands.

    Attributes:
        seen: Frame index before which every frame has been looked at.
        final: Frame index before which labels are final; later ones are made again.
        checksum: Of the frames looked at.
        state: The tracker's, to go on with frame ``seen``; empty: begin anew.
    """

    seen: int = 0
    final: int = 0
    checksum: int = 0
    state: bytes = b""

    def to_bytes(self) -> bytes:
        """Return it as the project stores it."""
        head = {name: value for name, value in asdict(self).items() if name != "state"}
        return json.dumps(head).encode() + b"\n" + self.state

    @classmethod
    def of(cls, stored: bytes | None) -> Standing | None:
        """Return what ``to_bytes`` gave; None for nothing, or for what is of another version."""
        head, newline, state = (stored or b"").partition(b"\n")
        try:
            return cls(**json.loads(head), state=state) if newline else None
        except (ValueError, TypeError):
            return None


def checksum(image: Image, index: int, before: int) -> int:
    """Return the checksum of the frames so far, ``before``, and one more."""
    return zlib.crc32(image.data, zlib.crc32(index.to_bytes(8, "little"), before))
