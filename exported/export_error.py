"""The error of an export."""

from messages.user_error import UserError


class ExportError(UserError):
    """A network that cannot be exported, or an exported one that is not equal; the message says what to do."""
