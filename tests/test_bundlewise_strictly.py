"""JSON and YAML have one meaning: a key that occurs twice is an error that names both lines."""

import json
import time

import pytest

from bundlewise.errors import DataError
from bundlewise.strictly import RepeatedKey, once, read_yaml, refuse_repeated_keys

FAULTS = {
    "a: 1\nb: 2\na: 3": "line 5: 'a' occurs twice, in line 3 and in line 5; keep one of them",
    "- {x: 1, x: 2}": "line 3: 'x' occurs twice, in line 3 and in line 3",
    "yes: 1\ntrue: 2": "line 4: 'true' occurs twice, in line 3 and in line 4",
    "1: a\n0x1: b": "line 4: '0x1' occurs twice, in line 3 and in line 4",
    "a:\n  - b: {c: 1,\n    c: 2}": "line 5: 'c' occurs twice, in line 4 and in line 5",
    "a: [": "line 3: expected the node content",
    "a: \x00": "line 3: holds a control character; write YAML",
    "a: 2024-13-45": "line 3: not YAML (month must be in 1..12); write YAML",
    "a: !!omap [b: 1, c: 2, b: 3]": "line 3: 'b' occurs twice, in line 3 and in line 3",
    "{\u00e9: 1, e\u0301: 2}": "line 3: 'e\u0301' occurs twice, in line 3 and in line 3",
    "[" * 3000: "line 3: not YAML (maximum recursion depth exceeded",
    "? [a]\n: 1": "line 3: found unhashable key; write YAML",
    "a: &a [*a]": "line 3: an alias is inside the part that it refers to; write it out without aliases",
    "a: 1\nb: &b\n  c: {d: [1, *b]}": "line 4: an alias is inside the part that it refers to",
    "a: &a [*a, *a, *a]\n": "line 3: an alias is inside the part that it refers to",
    "a0: &a0 [x, x]\n" + "\n".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40)): "line 3: aliases make",
    "a: *b": "line 3: found undefined alias 'b'",
    "a: 1\n---\nb: 2": "line 4: but found another document",
}


@pytest.mark.parametrize(("text", "said"), FAULTS.items())
def test_a_fault_of_yaml_is_told_with_its_line_in_the_file(text: str, said: str) -> None:
    with pytest.raises(DataError) as refused:
        read_yaml(text, "e.yaml", "write YAML", before=2)
    assert str(refused.value).startswith(f"e.yaml, {said}")


def test_what_is_written_once_is_read() -> None:
    assert read_yaml("a: &x {b: 1}\nc: {<<: *x, b: 2}\nd: {b: 3}", "e.yaml", "") == {
        "a": {"b": 1},
        "c": {"b": 2},
        "d": {"b": 3},
    }
    assert read_yaml("", "e.yaml", "") is None


def test_a_key_that_stands_twice_in_json_is_named() -> None:
    with pytest.raises(RepeatedKey, match="the key 'b' occurs twice in one object"):
        json.loads('{"a": {"b": 1, "c": 2, "b": 3}}', object_pairs_hook=once)
    with pytest.raises(DataError, match=r"^here: the key 'a' occurs twice in one object; keep one of them$"):
        refuse_repeated_keys('{"a": 1, "\\u0061": 2}', "here")
    refuse_repeated_keys('[{"a": 1}, {"a": 2}]', "here")


def test_a_hundred_thousand_keys_are_compared_in_little_time() -> None:
    text = json.dumps({f"key {n}": n for n in range(100_000)})[:-1] + ', "key 99999": 1}'
    begun = time.process_time()
    with pytest.raises(DataError, match="'key 99999' occurs twice"):
        refuse_repeated_keys(text, "here")
    assert time.process_time() - begun < 2
