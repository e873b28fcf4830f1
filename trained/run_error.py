"""The error of a run that cannot be used."""

from messages.user_error import UserError


class RunError(UserError):
    """No usable run; the message says which are there, or what is the matter with this one."""
