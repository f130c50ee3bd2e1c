"""How long a request to a store may take, and how often it is repeated."""

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

__all__ = ["CLIENT_OPTIONS", "RETRY_CONFIG"]

# the total is per request; a body that is cut or stalls is resumed, up to the retry limits
CLIENT_OPTIONS: "ClientConfig" = {
    "connect_timeout": timedelta(seconds=5),
    "read_timeout": timedelta(seconds=20),
    "timeout": timedelta(seconds=120),
}

# about 40 s of waiting in all: long enough for a "slow down", short enough for a person
RETRY_CONFIG: "RetryConfig" = {
    "max_retries": 8,
    "retry_timeout": timedelta(seconds=170),
    "backoff": {"init_backoff": timedelta(milliseconds=200), "max_backoff": timedelta(seconds=15), "base": 2},
}
