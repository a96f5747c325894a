"""Tables whose things are imported when they are asked for."""

import sys

import pytest

from annotations.tables import Table


@pytest.fixture
def table(tmp_path, monkeypatch):
    (tmp_path / "lazily_loaded.py").write_text('"""A thing."""\nTHING = 7\n')
    monkeypatch.syspath_prepend(tmp_path)
    yield Table({"module": "lazily_loaded", "named": "lazily_loaded:THING", "itself": 8, "gone": "no_such_module:X"})
    sys.modules.pop("lazily_loaded", None)


def test_names_are_known_in_their_order_without_an_import(table):
    assert list(table) == ["module", "named", "itself", "gone"]
    assert len(table) == 4
    assert "named" in table and "other" not in table
    assert "lazily_loaded" not in sys.modules


def test_a_thing_is_a_module_a_name_in_it_or_itself(table):
    assert table["module"].__doc__ == "A thing."
    assert (table["named"], table["itself"]) == (7, 8)


def test_a_name_that_is_not_there_is_a_key_error_and_a_lost_module_names_itself(table):
    with pytest.raises(KeyError, match="other"):
        table["other"]
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        table["gone"]
