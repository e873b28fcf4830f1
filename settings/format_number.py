"""Format numbers of files: the toolkit reads files that older versions wrote, and refuses files in a newer format."""

from messages.quoting import quoted
from messages.user_error import UserError


class FormatError(UserError):
    """A file in a format that this version cannot read. The message is one line: the file, the number, the rule."""


def check_format(found: object, newest: int, where: str) -> int:
    """The format number ``found`` in a file, once it is checked; 1 for None, since format 1 had no number.

    ``where`` names the file in messages. Raises FormatError unless ``found`` is None or a whole number from 1 to ``newest``.
    """
    if found is None:
        return 1
    if isinstance(found, bool) or not isinstance(found, int) or found < 1:
        raise FormatError(f"{where}: format {quoted(found)}: expected a whole number from 1 to {newest}")
    if found > newest:
        raise FormatError(f"{where}: format {quoted(found)}; this version of the toolkit reads up to {newest}: use a newer one")
    return found
