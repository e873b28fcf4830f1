"""What ends a search for learning rate and weight decay."""

from messages.user_error import UserError


class TuneError(UserError):
    """A search that cannot be made; the message says what to do."""
