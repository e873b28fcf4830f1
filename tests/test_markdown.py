"""Names from strangers' files in Markdown."""

import pytest

from messages.markdown import in_markdown


@pytest.mark.parametrize("text", ["sa_resnet 003", "a - b", "1.2 points (-0.1 to +2)", "狗_猫", "R&D", ""])
def test_usual_text_stays(text):
    assert in_markdown(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<img src=x>", r"\<img src=x\>"), ("[a](http://x)", r"\[a\](http://x)"), ("![a](x)", r"!\[a\](x)"), ("a|b", r"a\|b"),
        ("# a", r"\# a"), ("- a", r"\- a"), ("*a* _b_ `c`", r"\*a\* \_b\_ \`c\`"), ("&lt;b&#62;", r"\&lt;b\&#62;"),
        ("\\", "\\\\"),
        ("a\nb", r"a\\nb"), ("\x1b[2J", r"\\x1b\[2J"), ("\u202eb", r"\\u202eb"),
    ],
)  # fmt: skip
def test_what_means_something_is_text(text, expected):
    assert in_markdown(text) == expected
