"""Secrets in URIs are not said: in messages, logs and pages."""

from __future__ import annotations

import pytest

from ae_plugin.errors import DataError
from ae_plugin.masks import shown


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("https://user:hunter2@host:9/data.parquet", "https://...@host:9/data.parquet"),
        ("https://user:hun@ter/2@host/data", "https://...@host/data"),
        ("simplecache::https://user:hunter2@host/x", "simplecache::https://...@host/x"),
        ("https://host/x?sig=hunter2&se=2026", "https://host/x?sig=...&se=..."),
        ("at https://a:b@c/d, and s3://e:f@g/h: gone", "at https://...@c/d, and s3://...@g/h: gone"),
        ("s3://my_conn@bucket/date=2024-01-01/part-?.parquet", "s3://my_conn@bucket/date=2024-01-01/part-?.parquet"),
        ("/lake/a:b@c/part-*.parquet", "/lake/a:b@c/part-*.parquet"),
        ("s3://bucket/time=12:30/x", "s3://bucket/time=12:30/x"),
        ("", ""),
    ],
)
def test_what_is_shown(text: str, wanted: str) -> None:
    assert shown(text) == wanted


def test_errors_say_no_secret() -> None:
    error = DataError("'https://u:hunter2@h/x' is gone", where="https://u:hunter2@h/x", mend="See https://u:hunter2@h/")
    assert "hunter2" not in str(error)
