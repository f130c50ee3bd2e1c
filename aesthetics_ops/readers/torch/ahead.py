"""Batches that a device decodes while one is trained on, by a thread with a CUDA stream of its own.

In: batches of JPEGs, and what decodes them.  Out: tensors on the device, in order.
Promised: an error comes with the batch that it belongs to; what waits on the device is bounded; the thread ends with the iteration.
On the CPU the same happens without a stream.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import torch

from aesthetics_ops.readers.batches import Batch, Batches, Begun, was_closed
from aesthetics_ops.readers.sampling.sampler import Draws
from aesthetics_ops.readers.torch.decode import DeviceDecoder
from aesthetics_ops.readers.torch.options import as_labels
from aesthetics_ops.store import StoreThreads

__all__ = ["DeviceAhead"]

_MOST_AHEAD: Final = 2  # batches that lie decoded on the device, or are being decoded, while one is trained on

_Made = tuple[Any, Any, "torch.cuda.Event | None"]


class DeviceAhead:
    """One iteration's batches; only the thread that iterates calls it."""

    def __init__(self, batches: Batches, decoder: DeviceDecoder) -> None:
        """Begin nothing yet.

        Args:
            batches: of JPEGs.
            decoder: of a device, with its number where it is CUDA's: the thread has another current one.
        """
        self._batches, self._decoder = batches, decoder
        self._most = min(batches.ahead, _MOST_AHEAD)
        self._line: deque[_OnDevice] = deque()  # begun, and not given to the thread yet
        self._under_way = 0
        self._thread = StoreThreads(1, thread_name_prefix="decode-on-device")
        is_cuda = decoder.device.type == "cuda"
        self._stream = torch.cuda.Stream(decoder.device) if is_cuda else None  # type: ignore[no-untyped-call]

    def begin(self, draws: Draws) -> "_OnDevice":
        """Have one batch read, and decoded when its turn comes."""
        begun = _OnDevice(self, self._batches.begin(draws))
        self._line.append(begun)
        self._feed()
        return begun

    def end(self) -> None:
        """Decode no further batch, and have the thread end."""
        self._line.clear()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def take(self, made: "Future[_Made]") -> Batch:
        """Wait for a batch, and let the caller's stream use it."""
        try:
            images, labels, event = made.result()
        except CancelledError as error:
            raise was_closed() from error
        self._under_way -= 1
        if event is not None:
            stream = torch.cuda.current_stream(self._decoder.device)
            stream.wait_event(event)
            for tensor in _tensors_in((images, labels)):
                tensor.record_stream(stream)  # its memory belongs to the thread's stream
        return images, labels

    def started(self, of: "_OnDevice") -> "Future[_Made]":
        """Give the thread batches up to this one, as far as they may lie on the device."""
        self._feed()
        if of.made is None:
            raise was_closed()
        return of.made

    def _feed(self) -> None:
        while self._line and self._under_way <= self._most:
            one = self._line.popleft()
            one.made = self._thread.submit(self._make, one.begun)
            self._under_way += 1

    def _make(self, begun: Begun) -> _Made:
        jpegs, labels = begun.result()
        records, device = self._batches.records, self._decoder.device
        rows = records.rows_in_split(begun.draws.rows)
        with self._in_stream():
            images = self._decoder.decode(
                jpegs, begun.draws.bits, lambda number, error: records.reader.named(int(rows[number]), error)
            )
            return images, as_labels(labels, lambda one: one.to(device)), self._finished()

    def _in_stream(self) -> AbstractContextManager[Any]:
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def _finished(self) -> "torch.cuda.Event | None":
        """Wait until the device is done with the batch.

        torchvision's decoder has a stream of its own, and writes what it decodes next into memory that is free for this one.
        """
        if self._stream is None:
            return None
        event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]  # blocking: the wait takes no core
        event.record(self._stream)
        event.synchronize()
        return event


class _OnDevice:
    """A batch that is on its way to the device."""

    def __init__(self, ahead: DeviceAhead, begun: Begun) -> None:
        self._ahead, self.begun = ahead, begun
        self.made: Future[_Made] | None = None

    @property
    def draws(self) -> Draws:
        """What it is made of."""
        return self.begun.draws

    def result(self) -> Batch:
        """Wait for it, and return it.

        Raises:
            IntegrityError: a record is damaged; names version, shard, record and id.
            RuntimeError: of PyTorch: the device has no memory left, or fails.
            SettingsError: the batches were closed meanwhile.
        """
        return self._ahead.take(self._ahead.started(self))

    def cancel(self) -> None:
        """Leave unmade what nobody has begun."""
        if self.made is not None:
            self.made.cancel()
        self.begun.cancel()


def _tensors_in(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
        return
    for one in value.values() if isinstance(value, dict) else value:
        yield from _tensors_in(one)
