"""Write `.env` for docker-compose.yml: the text of .env.example, with a random secret for every name that has none.

    python3 deploy/make_secrets.py

Needs only Python's own library.  A file that is there is never written over: its secrets open the data.
"""

import base64
import os
import re
import secrets
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SPECIAL = {
    # 32 bytes in URL-safe base64, what Fernet takes
    "AIRFLOW_FERNET_KEY": lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    # one that a person types
    "AIRFLOW_ADMIN_PASSWORD": lambda: secrets.token_hex(10),
    "S3_ACCESS_KEY": lambda: secrets.token_hex(10).upper(),
}


def make(name: str) -> str:
    """Return a secret of letters and digits alone, which need no quoting in URLs, JSON or a shell; 256 bits."""
    return SPECIAL.get(name, lambda: secrets.token_hex(32))()


def fill(text: str) -> str:
    """Return the example with a secret behind every `NAME=` that stands there empty."""
    return re.sub(r"^([A-Z0-9_]+)=$", lambda match: f"{match[1]}={make(match[1])}", text, flags=re.MULTILINE)


def main() -> int:
    """Write the file and say what comes next; return the exit status."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / ".env"
    text = fill((ROOT / ".env.example").read_text(encoding="utf-8"))
    try:
        # nobody else may read it, not even for the moment between creating and writing
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        print(
            f"{path} is there already and is kept: its secrets open the database and the connections stored in it.\n"
            "To start from nothing, delete it together with the data: docker compose down --volumes",
            file=sys.stderr,
        )
        return 1
    with os.fdopen(file, "w", encoding="utf-8") as target:
        target.write(text)
    values = dict(re.findall(r"^([A-Z0-9_]+)=(.*)$", text, flags=re.MULTILINE))
    url = values["AIRFLOW_BASE_URL"].strip('"') or f"http://localhost:{values['AIRFLOW_PORT']}"
    print(
        f"{path} written; keep a copy where your other secrets are.\n"
        "Next: docker compose up --build\n"
        f"Then: {url}   user {values['AIRFLOW_ADMIN_USER']}   password {values['AIRFLOW_ADMIN_PASSWORD']}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
