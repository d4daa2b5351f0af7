"""What this project requires, as pip reads it: all of it, or what a machine that trains nothing needs.

python tools/requirements.py [--without-training] [EXTRA ...]
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

import tomllib

TRAINING = ("keras", "tensorflow")
"""Only `ae_plugin/models` imports them; they are 1.5 GB on disk."""


def requirements(project: Path, extras: Sequence[str], *, training: bool) -> list[str]:
    """List the requirements of a pyproject.toml and of some of its extras.

    Raises:
        KeyError: there is no such extra.
    """
    about = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    found = [*about["dependencies"], *(line for extra in extras for line in about["optional-dependencies"][extra])]
    return [line for line in found if training or re.split(r"[^\w.-]", line)[0] not in TRAINING]


def main() -> None:
    """Print them, one a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--without-training", action="store_true", help="leave out what only trainings need")
    parser.add_argument("extras", nargs="*")
    asked = parser.parse_args()
    here = Path(__file__).resolve().parent
    project = next(place for place in (here, here.parent) if (place / "pyproject.toml").exists()) / "pyproject.toml"
    print("\n".join(requirements(project, asked.extras, training=not asked.without_training)))


if __name__ == "__main__":
    main()
