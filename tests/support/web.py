"""A client of the browser without a network, and a reader of its pages."""

import warnings
from html.parser import HTMLParser
from typing import Any

with warnings.catch_warnings():  # starlette would rather have another HTTP library than the one Airflow brings
    warnings.simplefilter("ignore", DeprecationWarning)
    warnings.simplefilter("ignore", UserWarning)
    from starlette.testclient import TestClient

__all__ = ["Html", "TestClient"]

VOID = {"br", "col", "hr", "img", "input", "link", "meta"}


class Html(HTMLParser):
    """What a page holds; every tag must be closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.text += " "

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.tags if found == tag]

    @property
    def words(self) -> str:
        return " ".join(self.text.split())
