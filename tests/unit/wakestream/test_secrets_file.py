from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wakestream.secrets_file import read_properties, remove_properties, write_properties

# Java reads UTF-16; a lone surrogate is no character and cannot be in a password.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "secrets" / "connect.properties"


def test_it_is_made_for_its_owner_only(path: Path) -> None:
    write_properties(path, {"airline.password": "secret"})
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.read_text() == "airline.password=secret\n"


def test_a_new_value_replaces_the_old_one_and_all_else_stays(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("# by hand\n\nother : kept\nlong = one \\\n   two\nairline.password=old\n")
    write_properties(path, {"airline.password": "new", "more": "x"})
    kept = "# by hand\n\nother : kept\nlong = one \\\n   two\n"
    assert path.read_text() == f"{kept}airline.password=new\nmore=x\n"
    assert read_properties(path) == {"other": "kept", "long": "one two", "airline.password": "new", "more": "x"}


def test_removing_goes_by_the_start_of_the_name(path: Path) -> None:
    write_properties(path, {"airline.user": "a", "airline.password": "b", "airlines.user": "c"})
    remove_properties(path, "airline.")
    assert read_properties(path) == {"airlines.user": "c"}


def test_removing_from_a_file_that_is_not_there_makes_none(path: Path) -> None:
    remove_properties(path, "airline.")
    assert not path.exists()


def test_a_file_without_a_last_newline_is_not_joined_with_what_is_added(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("a=1")
    write_properties(path, {"b": "2"})
    assert read_properties(path) == {"a": "1", "b": "2"}


def test_nothing_is_left_beside_it(path: Path) -> None:
    write_properties(path, {"a": "1"})
    write_properties(path, {"a": "2"})
    assert [child.name for child in path.parent.iterdir()] == ["connect.properties"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a=b=c", {"a": "b=c"}),
        ("a:b", {"a": "b"}),
        ("a b", {"a": "b"}),
        ("  a  =  b", {"a": "b"}),
        ("a", {"a": ""}),
        (r"a\=b=c", {"a=b": "c"}),
        (r"a=\u00e9\t\\", {"a": "é\t\\"}),
        ("! a=b", {}),
        ("# ends with a backslash \\\na=b", {"a": "b"}),
    ],
)
def test_it_reads_as_java_does(path: Path, line: str, expected: dict[str, str]) -> None:
    path.parent.mkdir()
    path.write_text(f"{line}\n")
    assert read_properties(path) == expected


@given(st.dictionaries(KEYS, TEXT, max_size=4), st.dictionaries(KEYS, TEXT, max_size=4))
def test_whatever_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, first: dict[str, str], second: dict[str, str]
) -> None:
    path = tmp_path_factory.mktemp("any") / "file.properties"
    write_properties(path, first)
    write_properties(path, second)
    assert read_properties(path) == {**first, **second}
