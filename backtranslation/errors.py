"""The roots of all exceptions whose message is meant for the user."""


class UserError(ValueError):
    """A fault that the user can mend; its message says where."""


class DataError(UserError):
    """A file or a row of it cannot be used; the message names the file and, where there is one, the row."""
