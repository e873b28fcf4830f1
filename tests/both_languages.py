"""What holds of words in two languages, whoever translates them."""

import re


def same_in_both(words) -> bool:
    """Whether the Chinese is Chinese, and says the same figures, in whatever order, and the same names of files."""
    figures, names = (
        [sorted(re.findall(pattern, text)) for text in (words, words.chinese)]
        for pattern in (r"[-+]?\d+(?:[.,]\d+)*", r"[a-z_]+/[a-z_0-9]+\.png|[a-z]+\.(?:csv|py)")
    )
    return bool(re.search("[一-鿿]", words.chinese)) and figures[0] == figures[1] and names[0] == names[1]
