from __future__ import annotations

import pytest

from wakestream import program_sql


@pytest.mark.parametrize(
    ("statement", "names"),
    [
        ("update t set a = :a where id = :id", ["a", "id"]),
        ("select :a, :b, :a", ["a", "b"]),
        ("select x::int, :a::text", ["a"]),
        ("select ':no', :a", ["a"]),
        ("select 'it''s :no', :a", ["a"]),
        (r"select E'it\'s :no', :a", ["a"]),
        (r"select 'ends in \', :a", ["a"]),
        ('select ":no", :a', ["a"]),
        ("select $$ :no $$, :a", ["a"]),
        ("select $tag$ :no $$ :no $tag$, :a", ["a"]),
        ("select :a -- :no\n, :b", ["a", "b"]),
        ("select /* :no /* :no */ :no */ :a", ["a"]),
        ("select /* :no", []),
        ("select f(x := 1), :a", ["a"]),
        ("select a[1:2], :b", ["b"]),
        ("", []),
    ],
)
def test_placeholders(statement: str, names: list[str]) -> None:
    assert list(program_sql.placeholders(statement)) == names


def test_translation_leaves_everything_else_as_it_is() -> None:
    statement = "update t set a = :a, b = '100% :no' where c % 2 = :b -- 50% :no"
    expected = "update t set a = %(a)s, b = '100%% :no' where c %% 2 = %(b)s -- 50%% :no"
    assert program_sql.to_psycopg(statement) == expected


def test_place() -> None:
    text = "select 1\nfrom t where a = :b"
    assert program_sql.place_in(text, program_sql.placeholders(text)["b"]) == (2, 18)
