"""The error of a run that cannot be used."""

from messages.user_error import UserError


class RunError(UserError):
    """A missing or unusable run; the message says which runs exist, or why this one is unusable."""
