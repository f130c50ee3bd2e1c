"""A way to a server on loopback that is as long and as narrow as one wants, and counts what is asked.

In: the server's port, a latency, a speed.  Out: another port.  Runs in a thread.
Each request waits for the latency before the server sees it; a connection brings at most so many bytes a second.
`/-/reset` forgets, and `/-/counts` tells, what was asked for: requests, those for shards, bytes of answers.
"""

import asyncio
import json
import threading
import time
from typing import Final, Self

__all__ = ["Loopback"]

_CHUNK_BYTES: Final = 256 << 10
_OWN: Final = b"/-/"
_HEAD: Final = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: "


class Loopback:
    """The way; a context manager."""

    def __init__(self, port: int, *, latency_seconds: float = 0.0, bytes_per_second: float | None = None) -> None:
        """Prepare it.

        Args:
            port: of the server, on 127.0.0.1.
            latency_seconds: that each request waits.
            bytes_per_second: that a connection brings; None does not slow it.
        """
        self._port, self._latency, self._speed = port, latency_seconds, bytes_per_second
        self._reset()

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_CHUNK_BYTES)
        )
        self.port: int = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, name="loopback", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        """Where clients send their requests to."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def counts(self) -> dict[str, int]:
        """What was asked for since the last reset."""
        return {"requests": self._requests, "shards": self._shards, "bytes": self._bytes}

    def _reset(self) -> None:
        self._requests = self._shards = self._bytes = 0

    async def _end(self) -> None:
        self._server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        to_server = None
        answers = None
        try:
            while head := await _head(client):
                path = head.split(b" ", 2)[1]
                if path.startswith(_OWN):
                    if path.endswith(b"reset"):
                        self._reset()
                    body = json.dumps(self.counts)
                    back.write(f"{_HEAD}{len(body)}\r\n\r\n{body}".encode())
                    await back.drain()
                    break
                self._requests += 1
                self._shards += b"/shards/" in path
                if self._latency:
                    await asyncio.sleep(self._latency)
                if to_server is None:
                    server, to_server = await asyncio.open_connection("127.0.0.1", self._port, limit=_CHUNK_BYTES)
                    answers = asyncio.create_task(self._answer(server, back))
                to_server.write(head)
                await to_server.drain()
        except OSError:
            pass  # who went away wants no answer
        finally:
            if answers is not None:
                answers.cancel()
            for writer in (to_server, back):
                if writer is not None:
                    writer.close()

    async def _answer(self, server: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        due = 0.0
        try:
            while chunk := await server.read(_CHUNK_BYTES if self._speed is None else _CHUNK_BYTES >> 3):
                self._bytes += len(chunk)
                back.write(chunk)
                await back.drain()
                if self._speed is not None:
                    due = max(due, time.monotonic() - 0.01) + len(chunk) / self._speed
                    await asyncio.sleep(max(0.0, due - time.monotonic()))
        except OSError:
            pass
        finally:
            back.close()


async def _head(client: asyncio.StreamReader) -> bytes:
    """Return the next request of a connection, which has no body; nothing at its end."""
    try:
        return await client.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, OSError):
        return b""
