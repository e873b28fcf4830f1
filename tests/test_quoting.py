"""Values of a stranger's file in an error: on one line, printable, short."""

import pytest

from messages.quoting import listed, named, quoted


@pytest.mark.parametrize("value", [3, "text", "猫", 0.1, None, True, [1, 2], (0.5, "x"), {"a": 1}, "it's"])
def test_ordinary_values_are_shown_as_python_writes_them(value):
    assert quoted(value) == repr(value)


def bomb(levels):
    value = ["x"] * 9
    for _ in range(levels):
        value = [value] * 9
    return value


@pytest.mark.parametrize(
    "value",
    ["x" * 10**6, "\x1b[2J\n\u2028\ud800", 10**4000, 2**100_000, -(2**100_000), [2**100_000], bomb(30), {"k" * 500: bomb(3)},
     list(range(1000)), b"\0" * 1000],
    ids=["long", "control", "digits", "bits", "negative", "bits in a list", "bomb", "dict", "list", "bytes"],
)  # fmt: skip
def test_others_are_shown_in_part_on_one_line(value):
    assert quoted(value).isprintable()
    assert 0 < len(quoted(value)) < 500


@pytest.mark.parametrize("name", ["cat/1.jpg", "狗/a b.jpg", "é" * 500])
def test_names_stand_as_they_are(name):
    assert named(name) == name


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2Jb", "\ud800", "a\u2028b", "x" * 5000])
def test_names_that_would_not_show_on_one_line_are_quoted(name):
    assert named(name) == quoted(name)
    assert named(name).isprintable()


def test_a_list_of_names_holds_ten_at_most():
    assert listed([]) == "none"
    assert listed(["cat", "dog"]) == "cat, dog"
    assert listed(range(10)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    assert listed([f"class {number}" for number in range(5000)]).endswith(", class 9 and 4,990 more")
    assert listed(["a\nb"]) == "'a\\nb'"
