"""Nightly, verified TFRecord datasets from raw photos and aesthetic scores.

The public names; docs/api.md has a line on each.  Importing this package loads nothing: a name is imported when it is first
asked for, so that a task pays only for what it uses.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aesthetics_ops.errors import (
        AccessDeniedError,
        AestheticsOpsError,
        DatasetBusyError,
        GateError,
        InputMissingError,
        IntegrityError,
        LabelError,
        NoSuchPageError,
        NoSuchSplitError,
        NoSuchVersionError,
        ObjectAlteredError,
        ObjectArchivedError,
        ObjectMissingError,
        OddKeyError,
        PermanentError,
        PlanError,
        PublishConflictError,
        PublishUnknownError,
        ScratchSpaceError,
        SettingsError,
        StoreRefusedError,
        StoreUnavailableError,
        TrainingFailedError,
        TransientError,
    )
    from aesthetics_ops.pipeline import build_dataset
    from aesthetics_ops.pixels.photo import Converted, convert_photo
    from aesthetics_ops.publishing.publish import Published
    from aesthetics_ops.readers.batches import Batches
    from aesthetics_ops.readers.dataset import Dataset, open_dataset
    from aesthetics_ops.readers.pixels import Pixels
    from aesthetics_ops.readers.records import Records
    from aesthetics_ops.readers.sampling.sampler import Sampler
    from aesthetics_ops.readers.tensorflow import as_tf
    from aesthetics_ops.rejects import Rejected, RejectReason
    from aesthetics_ops.settings import BuildSettings, PixelSettings
    from aesthetics_ops.store import S3Access, S3Options, StoreLimits, open_store
    from aesthetics_ops.training.context import Trained, TrainingContext

    __version__: str

__all__ = [
    "AccessDeniedError",
    "AestheticsOpsError",
    "Batches",
    "BuildSettings",
    "Converted",
    "Dataset",
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
    "PixelSettings",
    "Pixels",
    "PlanError",
    "PublishConflictError",
    "PublishUnknownError",
    "Published",
    "Records",
    "RejectReason",
    "Rejected",
    "S3Access",
    "S3Options",
    "Sampler",
    "ScratchSpaceError",
    "SettingsError",
    "StoreLimits",
    "StoreRefusedError",
    "StoreUnavailableError",
    "Trained",
    "TrainingContext",
    "TrainingFailedError",
    "TransientError",
    "__version__",
    "as_tf",
    "build_dataset",
    "convert_photo",
    "open_dataset",
    "open_store",
]

_HOMES = {
    "Batches": "readers.batches",
    "BuildSettings": "settings",
    "Converted": "pixels.photo",
    "Dataset": "readers.dataset",
    "PixelSettings": "settings",
    "Pixels": "readers.pixels",
    "Published": "publishing.publish",
    "Records": "readers.records",
    "RejectReason": "rejects",
    "Rejected": "rejects",
    "S3Access": "store",
    "S3Options": "store",
    "Sampler": "readers.sampling.sampler",
    "StoreLimits": "store",
    "Trained": "training.context",
    "TrainingContext": "training.context",
    "as_tf": "readers.tensorflow",
    "build_dataset": "pipeline",
    "convert_photo": "pixels.photo",
    "open_dataset": "readers.dataset",
    "open_store": "store",
}  # the module of a name; every other public name is an error


if not TYPE_CHECKING:  # type checkers know the names above, and refuse any other

    def __getattr__(name):
        """Import a public name when it is first asked for (PEP 562)."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if name == "__version__":
            from importlib.metadata import version

            value = version("aesthetics-ops")
        else:
            from importlib import import_module

            value = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
        globals()[name] = value
        return value

    def __dir__():
        """List the public names with what is loaded."""
        return sorted({*globals(), *__all__})
