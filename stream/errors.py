"""Everything this package raises on purpose.

The tree, by who has to act::

    CapstreamError
      SetupError            the operator: refuse to start, name what to mend
        SettingsError       a setting is unknown or has an unusable value
        FileError           a constituents, index or trades file has unusable lines
        CompositionError    an index cannot be built exactly from its constituents
      ServiceError          the world: an embedded or remote service failed
      StuckError            the supervisor: start the process again, since it reads nothing though the brokers answer
      WireError             the sender: bytes that do not follow the contract
      FencedError           a newer publisher has taken over
"""


class CapstreamError(Exception):
    """Base of every error that this package raises on purpose."""


class SetupError(CapstreamError):
    """The set-up cannot work: the message says what is wrong and how to mend it."""


class SettingsError(SetupError):
    """A setting is unknown or has an unusable value."""


class FileError(SetupError):
    """A file has unusable lines; the message lists all of them with line and column."""


class CompositionError(SetupError):
    """An index cannot be built exactly from the constituents it selects."""


class ServiceError(CapstreamError):
    """A service that the program depends on could not be started or reached."""


class StuckError(CapstreamError):
    """Records wait, the brokers answer, and nothing is read: only a new process helps."""


class WireError(CapstreamError):
    """Bytes that do not follow the contract of their topic."""


class FencedError(CapstreamError):
    """Another publisher with a newer epoch has taken over; this one must stop."""
