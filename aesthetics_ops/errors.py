"""Every error a caller of aesthetics_ops can meet, in one tree.

    AestheticsOpsError
    ├── PermanentError              the same call fails again: change something first
    │   ├── SettingsError           a setting is out of range, unknown or contradicts another
    │   ├── LabelError              the label file cannot be used
    │   ├── PlanError               there is nothing to build from
    │   ├── InputMissingError       a stage ran before the stage that makes its input
    │   ├── IntegrityError          stored data is not what its record says
    │   ├── GateError               the build is complete, and a gate says no
    │   ├── PublishConflictError    another build published first
    │   ├── NoSuchVersionError      a dataset or version that was never published
    │   ├── NoSuchSplitError        a split that the version does not have
    │   ├── NoSuchPageError         an address of the browser that leads to nothing
    │   └── StoreRefusedError       the store answered no: bucket missing, access denied
    │       ├── ObjectMissingError  no object has this key
    │       ├── AccessDeniedError   the credentials are good, and may not do this
    │       ├── ObjectArchivedError the object lies in an archive, and must be restored before it can be read
    │       └── OddKeyError         a listing met a key that the native client cannot express
    └── TransientError              the same call may succeed later
        ├── DatasetBusyError        something else is at work on the dataset
        ├── ScratchSpaceError       the machine's disk is too full for this task now
        ├── TrainingFailedError     the function that trains raised something
        ├── StoreUnavailableError   no answer, or "not now"
        │   └── ObjectAlteredError  an object comes with other bytes each time that it is read
        └── PublishUnknownError     the reply to the last write was lost

Callers branch on the class, never on the text.  `exit_code` is what the command line exits with.
"""

from typing import ClassVar

__all__ = [
    "AccessDeniedError",
    "AestheticsOpsError",
    "DatasetBusyError",
    "GateError",
    "InputMissingError",
    "IntegrityError",
    "LabelError",
    "NoSuchPageError",
    "NoSuchSplitError",
    "NoSuchVersionError",
    "ObjectAlteredError",
    "ObjectArchivedError",
    "ObjectMissingError",
    "OddKeyError",
    "PermanentError",
    "PlanError",
    "PublishConflictError",
    "PublishUnknownError",
    "ScratchSpaceError",
    "SettingsError",
    "StoreRefusedError",
    "StoreUnavailableError",
    "TrainingFailedError",
    "TransientError",
]


class AestheticsOpsError(Exception):
    """Base of every error that this package raises on purpose."""

    exit_code: ClassVar[int] = 1


class PermanentError(AestheticsOpsError):
    """A retry cannot help."""


class TransientError(AestheticsOpsError):
    """A retry may help."""

    exit_code = 3


class SettingsError(PermanentError):
    """A setting is out of range, unknown, or contradicts another."""

    exit_code = 2


class LabelError(PermanentError):
    """The label file is missing, unreadable, or lacks what a build needs."""


class PlanError(PermanentError):
    """The photos and labels leave nothing to build."""


class _StageError(PermanentError):
    """An error that an earlier stage may end.

    Attributes:
        stage: to run first: plan, convert or validate; None where running one does not help.
        partition: that the stage must run for; None where it is all of the build, or not known.
    """

    def __init__(self, message: str, *, stage: str | None = None, partition: int | None = None) -> None:
        super().__init__(message)
        self.stage = stage
        self.partition = partition


class InputMissingError(_StageError):
    """A stage ran before the stage that makes its input."""


class IntegrityError(_StageError):
    """Stored data is not what its record says it is."""


class GateError(PermanentError):
    """The build is complete, but a gate refuses to publish it.

    Attributes:
        candidate: name of the version that is kept, to be looked at and promoted; None where none is.
    """

    def __init__(self, message: str, *, candidate: str | None = None) -> None:
        super().__init__(message)
        self.candidate = candidate


class PublishConflictError(PermanentError):
    """Another build published to this dataset first."""


class NoSuchVersionError(PermanentError):
    """The dataset, or this version of it, was never published."""


class NoSuchSplitError(PermanentError):
    """The version has no split of this name."""


class NoSuchPageError(PermanentError):
    """A name or a number in an address of the browser leads to nothing."""


class StoreRefusedError(PermanentError):
    """The store answered no: the bucket is missing or access is denied."""

    exit_code = 3


class ObjectMissingError(StoreRefusedError):
    """No object has this key."""

    exit_code = 1


class AccessDeniedError(StoreRefusedError):
    """The credentials are good, and may not do this; another object may be theirs to read."""


class ObjectArchivedError(StoreRefusedError):
    """The object lies in an archive (GLACIER, DEEP_ARCHIVE), and must be restored before it can be read."""


class OddKeyError(StoreRefusedError):
    """A listing met a key that the native client cannot express."""


class DatasetBusyError(TransientError):
    """Something else is at work on the dataset, such as an expiry."""


class ScratchSpaceError(TransientError):
    """The disk of the machine has too little room for what a task writes before it uploads, or lost it."""


class TrainingFailedError(TransientError):
    """The function that trains raised something of its own, or ended the program; its cause says what."""

    exit_code = 1


class StoreUnavailableError(TransientError):
    """The store gave no answer, or asked to come back later.

    Attributes:
        gave_up: the request was tried for as long as `store_retry_s` allows, so that trying it once more is for the caller's caller.
    """

    gave_up = False


class ObjectAlteredError(StoreUnavailableError):
    """An object comes with other bytes each time that it is read, and never with those that its ETag stands for."""


class PublishUnknownError(TransientError):
    """The reply to the publishing write was lost and its effect could not be read back."""
