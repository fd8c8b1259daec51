from __future__ import annotations

from decimal import Decimal

import jinja2
import pytest

from wakestream import program_template
from wakestream.program_template import TemplateError


def test_renders_the_event_and_lookups() -> None:
    template = program_template.compile_template(
        "{{ after.id }} {{ after | tojson }}{% for row in lookups.seats %} {{ row.seat }}{% endfor %}", ["seats"]
    )
    after = {"id": 7, "fare": Decimal("12345678901234567890.10"), "name": "é"}
    rendered = template.render(after=after, lookups={"seats": [{"seat": "1A"}]})
    assert rendered == '7 {"id":7,"fare":12345678901234567890.10,"name":"é"} 1A'


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("{{ aftr.id }}", 1, "`aftr` is not available here; did you mean `after`?"),
        ("\n{{ run.id }}", 2, "`run` is not available here"),
        ("{{ lookups.seat }}", 1, "`lookups.seat`: the agent has no such lookup; did you mean `seats`?"),
        ("a\n{% if x", 2, "unexpected end of template"),
        ("{% include 'other' %}", 1, "a template stands alone"),
        ("{% import 'other' as o %}", 1, "a template stands alone"),
    ],
)
def test_problems(text: str, line: int, message: str) -> None:
    with pytest.raises(TemplateError) as caught:
        program_template.compile_template(text, ["seats"])
    assert caught.value.found[0].line == line
    assert message in caught.value.found[0].message


def test_all_problems_at_once() -> None:
    with pytest.raises(TemplateError) as caught:
        program_template.compile_template("{{ a }}\n{{ b }}", [])
    assert sorted(problem.line for problem in caught.value.found) == [1, 2]


def test_what_is_undefined_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError):
        program_template.compile_template("{{ after.nme }}", []).render(after={"name": "x"})


def test_row_text_is_data() -> None:
    template = program_template.compile_template("{{ after.name }}", [])
    assert template.render(after={"name": "{{ 7 * 7 }}<b>"}) == "{{ 7 * 7 }}<b>"


@pytest.mark.parametrize("text", ["{{ after.__class__.__mro__ }}", "{{ ''.__class__ }}", "{{ after.update({}) }}"])
def test_the_sandbox_holds(text: str) -> None:
    template = program_template.compile_template(text, [])
    with pytest.raises(jinja2.exceptions.SecurityError):
        template.render(after={"a": 1})
