"""What a search for photographs finds before they are read: their classes, and the part of the user's own split."""

from dataclasses import dataclass, field

from messages.user_error import UserError


class SplitError(UserError):
    """Data that cannot be split; the message says what to do."""


@dataclass
class FoundPhotographs:
    """Photographs of a data folder, by relative path.

    ``classes``: {class name: paths, sorted}, in label order. ``sides``: {path: its part, one of data.lists.SIDES} where the
    user has split the photographs, else empty. ``problems``: (path, reason) of the files that are left out. ``notes``: lines to
    tell the user. ``places``: {class name: where its photographs come from}, for messages.
    """

    classes: dict[str, list[str]]
    sides: dict[str, str] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)
