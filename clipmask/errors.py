"""The exception for a user's mistake, and the one kind of it that a caller may be able to mend."""


class UserError(ValueError):
    """A mistake in what the user gave: a file, a config key, a name, a missing download.

    Its message is one paragraph that names the file, key or value and says the way out. The commands print it
    without a traceback and exit with status 2; library users may catch it as a ``ValueError``.
    """


class MissingText(UserError):
    """Text embeddings can't be had from where they were looked for; from elsewhere they may be."""
