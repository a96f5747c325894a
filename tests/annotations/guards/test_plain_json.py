import json

import pytest

from annotations.guards.plain_json import parse_json


@pytest.mark.parametrize("content", ['{"a": [1, 2.5, null]}', b'["\xc3\xa9"]', "NaN", "\ufeff[1]", b"\xef\xbb\xbf[1]"])
def test_what_json_says_comes_back(content):
    bare = content.decode("utf-8-sig") if isinstance(content, bytes) else content.removeprefix("\ufeff")
    assert repr(parse_json(content)) == repr(json.loads(bare))


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a":' * 100_000, "", "{", b"\xff", "1" * 5000])
def test_whatever_is_wrong_is_a_value_error(content):
    with pytest.raises(ValueError):
        parse_json(content)
