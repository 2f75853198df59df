"""The exceptions: mistakes of the user, and the request to end a run."""


class UserError(ValueError):
    """A mistake in what the user gave: a file, a config key, a name, a missing download.

    Its message is one paragraph that names the file, key or value and says the way out. The
    commands print it without a traceback and exit with status 2; library users may catch it as a
    ``ValueError``.

    Args:
        message: see above.
        key: the config key at fault, such as ``MODEL.CLIP.NAME``; empty if it is none.

    Attributes:
        key: as given. Programs and tests should read it and not the wording of the message.
    """

    def __init__(self, message: str = "", *, key: str = "") -> None:
        super().__init__(message)
        self.key = key


class MissingText(UserError):
    """Text embeddings are not where they were looked for. Another source may have them."""


class NameTakenError(UserError):
    """Another project has registered a name that ClipMask needs."""


class RunStopped(KeyboardInterrupt):
    """A run was asked to end, by Ctrl-C or by a scheduler's signal.

    Args:
        signal: its name, such as SIGTERM.
        where: how far the run had come, for the message.

    Attributes:
        signal: its name.
    """

    def __init__(self, signal: str, where: str = "") -> None:
        super().__init__(
            f"{'interrupted' if signal == 'SIGINT' else f'stopped by {signal}'} {where}".strip()
        )
        self.signal = signal
