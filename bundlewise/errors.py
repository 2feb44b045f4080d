"""Errors a user can act on: each message says what is wrong, the value and the remedy."""


class BundlewiseError(Exception):
    """A failure with a message for the user, one argument per line; the command line exits with 1."""

    exit_code = 1

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines of the message; a line feed within a line belongs to a text from outside."""
        return tuple(map(str, self.args))

    def __str__(self) -> str:
        """Return the whole message."""
        return "\n".join(self.lines)


class UsageError(BundlewiseError):
    """An option, name or path that is wrong; the command line exits with 2."""

    exit_code = 2


class DataError(BundlewiseError):
    """A file whose content cannot be used; the message names file, line and remedy."""


class ModelError(BundlewiseError):
    """A model that cannot be fetched, found or loaded."""


class PromptError(ModelError):
    """A prompt that is too long for the student."""


class KnowledgeError(BundlewiseError):
    """A knowledge base or pack that cannot be read, or does not fit its embedder."""


class AdapterError(BundlewiseError):
    """An adapter that does not fit its base, prompts or knowledge."""


class StoppedError(BundlewiseError):
    """Work that was stopped while it waited."""


def describe(error: Exception) -> str:
    """Return the message about an error for the user."""
    if isinstance(error, BundlewiseError):
        return str(error)
    if isinstance(error, MemoryError):
        return "out of memory; close other programs or choose a smaller batch or model"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'the system'}: {error.strerror}; free space, or check path and rights"
    text = " ".join(str(error).split())[:300]
    return f"unexpected {type(error).__name__}: {text}; run again with --debug to see where"
