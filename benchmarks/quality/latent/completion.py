"""Completion of tables and pictures beside peers: `python -m benchmarks.quality.latent.completion --data FOLDER`.

See `completion_tables` and `completion_pictures` for what is measured. Results are kept in `.bench/completion` as they
come, so that a stopped run goes on. `--write` rewrites the section of `docs/latent.md`. The peers need the extra
`bench`.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from pathlib import Path

from benchmarks.quality.latent import completion_pictures, completion_tables
from benchmarks.quality.page import ROOT, rewrite

COMMAND = "python -m benchmarks.quality.latent.completion --data FOLDER --write"
PAGE = ROOT / "docs/latent.md"


def main() -> None:
    """Measure what is missing, print the tables."""
    reported = [name for name in completion_tables.TABLES if name not in completion_tables.DEVELOPMENT]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="the folder that holds adult/, fashion_mnist/ and so on"
    )
    parser.add_argument("--tables", nargs="*", default=reported, choices=list(completion_tables.TABLES))
    parser.add_argument("--pictures", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--write", action="store_true", help="rewrite docs/latent.md")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    tables = completion_tables.lines_of(completion_tables.results(args.data, args.tables)) if args.tables else []
    pictures = completion_pictures.lines_of(completion_pictures.results(args.data)) if args.pictures else []
    print("\n".join([*tables, "", *pictures]))
    if args.write:
        rewrite("completion-tables", COMMAND, tables, PAGE)
        rewrite("completion-pictures", COMMAND, pictures, PAGE)


if __name__ == "__main__":
    main()
