"""Errors that the user can put right."""


class UserError(ValueError):
    """What the user can put right; the message is one line: the value, the rule, the remedy.

    A script prints it and ends with ``exit_code``.
    """

    exit_code = 2
