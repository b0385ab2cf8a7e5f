"""One space of codes, and errors that say what to do."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dodai.core.errors import AREAS, Code, CodeRegistry, DodaiError


def code(code_id: str, name: str = "some-name") -> Code:
    return Code(code_id, name, "tests")


@pytest.mark.parametrize(
    ("code_id", "area", "found"),
    [
        ("DOD000", "manifest", "check"),
        ("DOD101", "csrf", "check"),
        ("DOD249", "migrations", "check"),
        ("DOD150", "csrf", "run time"),
        ("DOD377", "operations", "run time"),
        ("DOD450", "observability", "alert"),
        ("DOD479", "observability", "alert"),
        ("DOD280", "migrations", "operation"),
        ("DOD499", "observability", "operation"),
    ],
)
def test_the_digits_of_a_code_say_its_area_and_where_it_is_met(code_id, area, found):
    """Somebody who only sees the code knows where to look."""
    assert (code(code_id).area, code(code_id).found) == (area, found)


@pytest.mark.parametrize("code_id", ["DOD800", "DOD1", "dod101", "DOD1010", "DOD101\n", "D101", ""])
def test_a_malformed_id_is_refused(code_id):
    """A typo would otherwise become a code of its own."""
    with pytest.raises(ValueError, match="malformed code"):
        code(code_id)


@pytest.mark.parametrize("name", ["", "Upper-case", "two words", "-x", "x-", "a--b", "x_y"])
def test_a_malformed_name_is_refused(name):
    """Names are words people type: `dodai explain unprotected-route`."""
    with pytest.raises(ValueError, match="malformed code"):
        code("DOD101", name)


@given(st.integers(0, 7), st.integers(0, 99))
def test_every_code_has_an_area_and_a_place(area, last):
    """There is no hole in the space."""
    each = code(f"DOD{area}{last:02}")
    assert each.area == (*AREAS, "operations", "adoption", "providers")[area]
    assert each.found in ("check", "run time", "alert", "operation")


def test_an_id_or_a_name_cannot_be_declared_twice():
    """A code means one thing, for ever."""
    with pytest.raises(ValueError, match="DOD101 other is declared twice"):
        CodeRegistry([code("DOD101"), code("DOD101", "other")])
    with pytest.raises(ValueError, match="DOD102 some-name is declared twice"):
        CodeRegistry([code("DOD101"), code("DOD102")])


def test_a_code_is_found_by_id_or_name_in_any_case():
    """People copy codes from logs and type names from memory."""
    registry = CodeRegistry([code("DOD201", "b"), code("DOD101", "unprotected-route")])
    for word in ("DOD101", "dod101", " Dod101 ", "unprotected-route", "Unprotected-Route"):
        found = registry.find(word)
        assert found
        assert found.id == "DOD101"
    assert registry.find("DOD999") is None
    assert registry.find("") is None
    assert list(registry) == ["DOD101", "DOD201"]
    assert len(registry) == 2
    with pytest.raises(KeyError):
        registry["DOD102"]


def test_an_error_says_its_code_name_and_message():
    """The one line that reaches a terminal."""
    error = DodaiError(code("DOD301", "port-in-use"), "port `8000` is in use", fix="stop the process that holds it")
    assert str(error) == "DOD301 port-in-use: port `8000` is in use"
    assert (error.fault, error.exit_code) == ("user", 3)


def test_the_body_of_an_error_is_json_a_program_can_act_on():
    """`data` is left out when there is none; fault says whether a retry makes sense."""
    error = DodaiError(
        code("DOD301", "port-in-use"), "in use", "stop it", fault="provider", exit_code=4, details=("undone: a",)
    )
    expected = {
        "code": "DOD301",
        "name": "port-in-use",
        "fault": "provider",
        "message": "in use",
        "fix": "stop it",
        "details": ["undone: a"],
    }
    assert orjson.loads(orjson.dumps(error.as_json())) == expected
    error.data = {"port": 8000}
    assert error.as_json()["data"] == {"port": 8000}


def test_an_error_can_be_raised_chained_and_caught_by_identity():
    """It stays an exception: hashable, with a cause and a traceback."""
    original = OSError("address in use")

    def fail() -> None:
        raise DodaiError(code("DOD301"), "in use", "stop it") from original

    with pytest.raises(DodaiError) as caught:
        fail()
    assert caught.value.__cause__ is original
    assert isinstance(hash(caught.value), int)
