"""Print what an environment has installed, as a CycloneDX 1.5 document: name, version and licence of each distribution.

    python list_packages.py > sbom.json

Equal environments give equal bytes: no time and no random number is in it.  Needs only Python's own library.
"""

import json
import re
import sys
from importlib.metadata import Distribution, distributions
from typing import Any


def describe(distribution: Distribution) -> dict[str, Any]:
    """Return one component."""
    about = distribution.metadata
    name = re.sub(r"[-_.]+", "-", about["Name"]).lower()
    component: dict[str, Any] = {
        "type": "library",
        "name": name,
        "version": distribution.version,
        "purl": f"pkg:pypi/{name}@{distribution.version}",
    }
    if expressions := about.get_all("License-Expression", []):
        component["licenses"] = [{"expression": expressions[0]}]
    elif names := _licences(about.get_all("Classifier", []), "".join(about.get_all("License", []))):
        component["licenses"] = [{"license": {"name": name}} for name in names]
    return component


def _licences(classifiers: list[str], field: str) -> list[str]:
    """Return names of licences from the older fields; the second may hold a whole text, which is left out."""
    named = sorted(text.rpartition(" :: ")[2] for text in classifiers if text.startswith("License :: "))
    return named or ([field] if 0 < len(field) <= 80 and "\n" not in field else [])


def main() -> int:
    """Print the document; return the exit status."""
    components = sorted(map(describe, distributions()), key=lambda component: component["name"])
    document = {"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1, "components": components}
    print(json.dumps(document, indent=1, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
