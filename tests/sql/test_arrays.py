"""The array literals that are made here, against what the server reads in them."""

from __future__ import annotations

import psycopg
from hypothesis import example, given
from hypothesis import strategies as st

from agentmem.moments import expiry
from agentmem.sql.postgres_arrays import moment_array, text_array

TEXTS = st.lists(st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\0")), max_size=5)
MOMENTS = st.lists(st.none() | st.integers(0, 2**52), max_size=5)


def test_what_is_written_is_what_is_read(postgres_schema_url: str) -> None:
    with psycopg.connect(postgres_schema_url, autocommit=True) as connection:
        connection.execute("SET TIME ZONE 'Asia/Kathmandu'")

        @given(TEXTS, MOMENTS)
        @example(["", '"', "\\", '\\"', "{}", "NULL", ",", "\n", " "], [])
        def compare(texts: list[str | None], moments: list[int | None]) -> None:
            parameters = (text_array(texts), moment_array(moments))
            row = connection.execute("SELECT %s::text[], %s::timestamptz[]", parameters).fetchone()
            assert row == (texts, list(map(expiry, moments)))

        compare()
