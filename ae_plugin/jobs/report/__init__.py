"""Report: one self-contained HTML file that says what was found, why, and how far to trust it.

`stored` reads what scoring wrote, `rows` asks the model again about the worst rows, `words` and `charts` put both into
sentences and pictures, and `page` makes the file.
"""

from ae_plugin.jobs.report.page import report

__all__ = ["report"]
