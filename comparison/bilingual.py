"""Words for the reader of a comparison, in both languages of its page."""


class Bilingual(str):
    """The words in English, as files and the terminal have them. ``chinese``: the same for the page in Chinese."""

    chinese: str

    def __new__(cls, english: str, chinese: str) -> "Bilingual":
        words = super().__new__(cls, english)
        words.chinese = chinese
        return words
