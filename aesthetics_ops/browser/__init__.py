"""The dataset browser: pages over versions, shards, photos, rejects and builds.  `make_browser` is its only door."""

from aesthetics_ops.browser.app import make_browser

__all__ = ["make_browser"]
