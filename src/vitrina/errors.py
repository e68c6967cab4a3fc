"""Every error a user can meet. Each says what was found, what was expected and what to do."""

from __future__ import annotations


class VitrinaError(Exception):
    """Base of all errors meant for people: the command line prints its text and no traceback."""


class SettingsError(VitrinaError):
    """`vitrina.toml` or a `VITRINA_*` variable holds something that cannot be used."""


class KeysError(VitrinaError):
    """The file of API keys cannot be read, or a key of that name is not there, or is already."""


class DataError(VitrinaError):
    """An input file, a column or a table cannot be used at all; bad rows go to quarantine."""


class UnreadableFile(DataError):
    """A file is damaged, or not of the format that it claims to be."""


class EngineError(VitrinaError):
    """The lake's engine failed: no memory, a full disk, a lost executor, no cluster."""


class UnfitData(DataError):
    """The data was read, and cannot make a recommender: too few shoppers, one item, no time …"""


class SourceError(VitrinaError):
    """A bucket or a database cannot be reached, or refuses; what it holds is unknown."""


class StateError(VitrinaError):
    """The store of events and histories takes or gives nothing at the moment."""


class Unconfirmed(StateError):
    """The store's answer did not arrive: what it was asked to do may have been done."""


class SessionTaken(VitrinaError):
    """A session was to join a user, and belongs to another one."""


class TrainingError(VitrinaError):
    """Training cannot start or go on: too little data, a NaN loss, a foreign checkpoint."""


class BundleError(VitrinaError):
    """A bundle is incomplete, corrupted or of an unknown format."""


class SpaceMismatch(VitrinaError):
    """Vectors of two different embedding spaces were about to meet."""


class MissingExtra(VitrinaError):
    """A feature needs packages that are not installed."""

    def __init__(self, package: str, extra: str, *, why: str = "") -> None:
        super().__init__(
            f"{why}The package '{package}' is not installed. It comes with the extra '{extra}': "
            f"pip install 'vitrina[{extra}]'."
        )
