"""The dataset browser: pages over versions, shards, photos, rejects and builds.

`make_browser` is the door for who shows it; the rest is for who adds a page (docs/browser.md).
"""

from aesthetics_ops.browser.app import make_browser
from aesthetics_ops.browser.pages import AddedPages, Tab
from aesthetics_ops.browser.routing import Chosen, PageNumber, page_of_dataset, page_of_version

__all__ = ["AddedPages", "Chosen", "PageNumber", "Tab", "make_browser", "page_of_dataset", "page_of_version"]
