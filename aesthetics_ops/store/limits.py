"""How long a store may be silent, and how long a request is tried again: two bounds that every kind of store keeps.

In: a build's settings, or the environment (AESTHETICS_STORE_TIMEOUT_S, AESTHETICS_STORE_RETRY_S).  Out: `StoreLimits`.
"""

import math
import os
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from aesthetics_ops.errors import SettingsError

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

__all__ = ["StoreLimits"]

_TIMEOUT_S: Final = 20.0
_RETRY_S: Final = 60.0
_LONGEST_S: Final = 86_400.0
_CONNECT_S: Final = 5.0  # a host that is there answers sooner
_SLOWEST_BYTES_PER_S: Final = 16 << 10  # a body that comes slower is as good as silent


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """How long a store may take.

    Attributes:
        timeout_s: a request during which nothing moves for so many seconds is cut off, > 0; in a body it may take a quarter more.
        retry_s: a request that fails is tried again until so many seconds have passed, >= 0.

    A request is given up `retry_s` plus `timeout_s` after it was first sent, at the latest, unless its body keeps coming.
    """

    timeout_s: float
    retry_s: float

    @classmethod
    def of(cls, timeout_s: float | None = None, retry_s: float | None = None) -> "StoreLimits":
        """Return limits; None takes what the environment says, or else 20 and 60 seconds.

        Raises:
            SettingsError: a variable of the environment is no such number.
        """
        return cls(
            _from_environment("AESTHETICS_STORE_TIMEOUT_S", _TIMEOUT_S, 0.1) if timeout_s is None else timeout_s,
            _from_environment("AESTHETICS_STORE_RETRY_S", _RETRY_S, 0.0) if retry_s is None else retry_s,
        )

    @property
    def connect_s(self) -> float:
        """How long a connection may take."""
        return min(_CONNECT_S, self.timeout_s)

    def body_s(self, size_bytes: int) -> float:
        """How long a body of so many bytes may take."""
        return self.timeout_s + size_bytes / _SLOWEST_BYTES_PER_S

    @property
    def native_client(self) -> "ClientConfig":
        """The same for obstore, whose total is for a whole body, of 64 MB at most here."""
        return {
            "connect_timeout": timedelta(seconds=self.connect_s),
            "read_timeout": timedelta(seconds=self.timeout_s),
            "timeout": timedelta(seconds=self.body_s(64 << 20)),
        }

    @property
    def native_retries(self) -> "RetryConfig":
        """None: what fails is tried again by `trying.py`, which sees each failure."""
        return {"max_retries": 0, "retry_timeout": timedelta(0)}


def _from_environment(name: str, default: float, least: float) -> float:
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= _LONGEST_S:
        raise SettingsError(f"{name} is {text!r}; write a number of seconds, {least:g} to {_LONGEST_S:g}")
    return value
