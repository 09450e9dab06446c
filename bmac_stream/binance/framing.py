"""A short cut in websockets' receiving path for what nearly every byte is: whole, unmasked text frames.

websockets builds about ten Python objects and makes two queue operations per frame; for a whole market's
klines that was more than half of the work (19 us of CPU per frame with it, 8 without, on the same loopback
stream, decoding and checks included). Here each whole text frame of a chunk goes straight to a callback,
inside `data_received`: nothing is queued, so a slow callback slows the sender down by TCP itself. All the
rest (handshake, pings, closing, fragments, compressed, masked or oversize frames, and so every protocol
error) is the library's, which is handed nothing but whole frames and so never waits in the middle of one.
"""

from collections.abc import Callable
from typing import Final

from websockets.asyncio.client import ClientConnection

__all__ = ["MAX_FRAME", "FrameConnection"]

MAX_FRAME: Final = 1 << 20
"""Most bytes of one message; a longer one closes the connection (1009)."""

_TEXT_FIN: Final = 0x81  # FIN, opcode text, no extension bits
_LONGEST_HEAD: Final = 1 << 16  # bytes of the handshake's answer that are held back for its end


class FrameConnection(ClientConnection):
    """A ClientConnection whose text frames go to `on_text`, if that is set.

    on_text  called with the payload of every whole text frame; what it raises closes the connection and is
             kept in `failure`. Until it is set, and for fragmented messages, `recv` works as ever.
    """

    on_text: Callable[[bytes], None] | None = None
    failure: Exception | None = None

    _head: bytearray | None = None  # the beginning of the handshake's answer
    _opened = False
    _tail: bytearray | None = None  # the beginning of a frame ...
    _needed = 0  # ... which goes on until there are so many bytes
    _fragmented = False
    _handed_over = False  # the rest of this connection is the library's

    def data_received(self, data: bytes) -> None:
        """Called by asyncio with whatever arrived."""
        if self._handed_over:
            super().data_received(data)
            return
        if not self._opened:
            data = self._receive_head(data)
            if not data:
                return
        if self._tail is not None:
            self._tail += data
            if len(self._tail) < self._needed:
                return
            data, self._tail = bytes(self._tail), None
        rest = self._receive_frames(data)
        if rest < len(data):
            self._tail = bytearray(data[rest:])

    def _receive_head(self, data: bytes) -> bytes:
        """The handshake's answer goes to the library, and not a byte more; returns what follows it."""
        head = self._head = (self._head or bytearray()) + data
        end = head.find(b"\r\n\r\n") + 4
        if end < 4 and len(head) < _LONGEST_HEAD:
            return b""
        self._head = None
        self._opened = True
        if end < 4 or not head.startswith(b"HTTP/1.1 101"):
            # Frames cannot follow this: the library reads the rest (a body) and says what is wrong.
            self._handed_over = True
            super().data_received(bytes(head))
            return b""
        super().data_received(bytes(head[:end]))
        return bytes(head[end:])

    def _receive_frames(self, data: bytes) -> int:
        """Work off the whole frames in `data`; returns where the last, unfinished one begins."""
        on_text = self.on_text
        size = len(data)
        position = 0
        while size - position >= 2:
            first, second = data[position], data[position + 1]
            length = second & 0x7F
            start = position + 2
            if length == 126:
                start += 2
                if size < start:
                    break
                length = data[start - 2] << 8 | data[start - 1]
            elif length == 127:
                start += 8
                if size < start:
                    break
                length = int.from_bytes(data[start - 8 : start], "big")
                if length > MAX_FRAME:
                    self._handed_over = True
                    super().data_received(data[position:])  # it answers 1009 at the header and closes
                    return size
            if second & 0x80:
                start += 4  # masked, which a server must not do: the library says so
            end = start + length
            if size < end:
                self._needed = end - position
                return position
            if first == _TEXT_FIN and second < 0x80 and on_text is not None and not self._fragmented:
                try:
                    on_text(data[start:end])
                except Exception as error:
                    self.failure = self.failure or error
                    self.transport.abort()
                    return size
            else:
                if first & 0x0F < 8:  # text, binary or their continuation
                    self._fragmented = first & 0x80 == 0
                super().data_received(data[position:end])
            position = end
        self._needed = 0  # not even the frame's head is here: any further byte may help
        return position
