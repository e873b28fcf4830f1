"""The number of a file's format: what an older version of the toolkit wrote is read, what a newer one wrote is refused."""

from messages.quoting import quoted
from messages.user_error import UserError


class FormatError(UserError):
    """A file in a format that this version does not read. The message is one line: the file, the number, the rule."""


def check_format(found: object, newest: int, where: str) -> int:
    """The format of the file that the text ``where`` names, whose number is ``found``: 1 for None, an unnumbered file.

    Raises FormatError unless ``found`` is None or a whole number from 1 to ``newest``.
    """
    if found is None:
        return 1
    if isinstance(found, bool) or not isinstance(found, int) or found < 1:
        raise FormatError(f"{where}: format {quoted(found)}: expected a whole number from 1 to {newest}")
    if found > newest:
        raise FormatError(f"{where}: format {quoted(found)}; this version of the toolkit reads up to {newest}: use a newer one")
    return found
