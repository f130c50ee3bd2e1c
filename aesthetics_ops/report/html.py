"""How the templates of HTML pages are filled, the report's and the browser's alike.

In: where templates lie.  Out: an environment that escapes what is put in.
Jinja is imported when it is first needed.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from aesthetics_ops.report.words import FILTERS, visible

if TYPE_CHECKING:
    from jinja2 import BaseLoader, Environment

__all__ = ["html_environment"]


def html_environment(loader: "BaseLoader", filters: Mapping[str, Callable[..., str]]) -> "Environment":
    """Return an environment for HTML: values are escaped and shown whole, and a name that is not there is an error.

    Args:
        loader: finds the templates.
        filters: by name, beside those of `report.words`.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        loader=loader,
        autoescape=True,
        finalize=visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {**FILTERS, **filters}
    return environment
