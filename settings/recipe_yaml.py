"""Reads the YAML of recipes: of a stranger's file too, in about the time that its length takes.

YAML lets a few lines stand for gigabytes (aliases of aliases), calls itself for every bracket, and its parser raises other
errors than its own for dates and numbers that there cannot be. So length and nesting are bounded, and aliases refused.
"""

import yaml

from messages.quoting import named

MOST_BYTES = 100_000  # the parser takes seconds for as many
MOST_LEVELS = 8  # of lists in lists; no setting has more than one


class RecipeError(ValueError):
    """No usable YAML; the message, of one line, is the reason alone."""


def read_yaml(path):
    """({key: value}, [key, ...] as the file has them, repeated ones too) of lines of ``name: value``; raises RecipeError."""
    try:
        with open(path, "rb") as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise RecipeError(f"more than {MOST_BYTES:,} bytes, which no recipe needs")
        text = data.decode("utf-8")
    except FileNotFoundError:
        raise RecipeError("there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"cannot be read: {error}") from None
    try:
        loader = _PlainLoader(text)
        document = loader.get_single_node()
        content = loader.construct_document(document) if isinstance(document, yaml.MappingNode) else None
    except RecipeError:
        raise
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # ValueError: 2001-99-99, or a number of 5,000 digits; OverflowError: 1:1:1:...:1.5, which YAML takes for a time of day
        raise RecipeError(f"not YAML: {named(' '.join(str(error).split()))}") from None
    if content is None:
        raise RecipeError("expected lines of 'name: value'")
    return content, [key.value for key, _ in document.value]


class _PlainLoader(yaml.SafeLoader):
    """Refuses what YAML has, recipes do not need, and may cost more than its length."""

    level = 0

    def compose_node(self, parent, index):
        event = self.peek_event()
        line = f"line {event.start_mark.line + 1}"
        if event.anchor is not None:
            raise RecipeError(f"{line} has an anchor or alias ({named(event.anchor[:40])}): write the value out")
        if getattr(event, "tag", None) is not None:  # for what does not suit its tag YAML's parser raises any error
            raise RecipeError(f"{line} has a tag ({named(event.tag[:60])}): write the value without")
        if self.level > MOST_LEVELS:
            raise RecipeError(f"{line} is nested deeper than any setting")
        self.level += 1
        node = super().compose_node(parent, index)
        self.level -= 1
        return node
