"""The secrets of docker-compose.yml: made once, in a file that only its owner reads.

python tools/compose_env.py .env

What the file holds is kept. A value in the environment is taken for a new one, so that a password of a database that is
there already can be handed in.
"""

from __future__ import annotations

import argparse
import base64
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path


def _key() -> str:
    """32 bytes, as Fernet wants them."""
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


SECRETS: dict[str, Callable[[], str]] = {
    "AIRFLOW_ADMIN_PASSWORD": lambda: secrets.token_urlsafe(12),
    "AIRFLOW_SECRET": lambda: secrets.token_hex(32),
    "AIRFLOW_JWT_SECRET": lambda: secrets.token_hex(64),
    "AIRFLOW_FERNET_KEY": _key,
    "POSTGRES_PASSWORD": lambda: secrets.token_hex(16),  # these two stand in URLs: no signs that mean something there
    "REDIS_PASSWORD": lambda: secrets.token_hex(16),
}


def complete(path: Path) -> list[str]:
    """Add the secrets that a file lacks.

    Returns:
        Their names.
    """
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    there = set(re.findall(r"^\s*(\w+)\s*=", text, flags=re.MULTILINE))
    lines = {name: os.environ.get(name) or make() for name, make in SECRETS.items() if name not in there}
    if text and not text.endswith("\n"):
        text += "\n"
    # Written beside it and moved, so that no reader finds half of them, and nobody else reads it meanwhile.
    beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text + "".join(f"{name}={value}\n" for name, value in lines.items()))
    beside.replace(path)
    return list(lines)


def main() -> None:
    """Complete the file, and say what was made."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    file = parser.parse_args().file
    if made := complete(file):
        print(f"made {', '.join(made)} in {file}")


if __name__ == "__main__":
    main()
