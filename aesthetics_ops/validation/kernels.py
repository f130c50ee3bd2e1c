"""What shards are read back with: a few functions of TensorFlow, by their public names.

`import tensorflow` takes 3 CPU seconds, of which these functions need one: the rest is Keras, and names that are looked up for all
of its API.  So only they are loaded.  They are the very objects that `import tensorflow` would name.

For that a stand-in takes the place of the package `tensorflow`, which its modules find their kind in.  Whoever asks the stand-in for
anything gets all of TensorFlow: `import tensorflow` works as ever afterwards, and costs what it would have cost.  Where another
release has other modules, all of it is loaded at once.
"""

import importlib
import importlib.util
import logging
import operator
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any, Final

from aesthetics_ops.machine import quiet_stderr, while_loading

__all__ = ["kernels"]

_log = logging.getLogger(__name__)

_NAMES: Final = (
    "TensorSpec",
    "as_dtype",
    "cond",
    "constant",
    "data.TFRecordDataset",
    "errors.DataLossError",
    "errors.InvalidArgumentError",
    "function",
    "io.FixedLenFeature",
    "io.decode_jpeg",
    "io.extract_jpeg_shape",
    "io.parse_single_example",
    "math.is_finite",
    "reduce_all",
    "size",
    "stack",
    "strings.substr",
)

_ASKED_OF_ARRAYS: Final = (
    "is_tensor"  # matplotlib asks it of each array that is drawn, wherever there is a package `tensorflow`
)
_ASKED_OF_ALL: Final = ("__all__", "__path__", "__version__")

_loading: Final = threading.RLock()
_loaded: list[SimpleNamespace] = []


def kernels() -> Any:
    """Return what shards are read back with, each name without those of its modules, and `version` of TensorFlow.

    The first call loads a part of TensorFlow, where none of it is loaded yet.

    Raises:
        ModuleNotFoundError: TensorFlow is not installed.
    """
    with _loading:
        if not _loaded:
            with _quiet(), while_loading():
                _loaded.append(_of_all() if "tensorflow" in sys.modules else _of_a_part_or_all())
        return _loaded[0]


def _of_a_part_or_all() -> SimpleNamespace:
    try:
        return _of_a_part()
    except Exception as error:  # whatever another release does there
        _log.debug("all of TensorFlow is loaded, since a part of it cannot be: %s: %s", type(error).__name__, error)
        return _of_all()


def _of_all() -> SimpleNamespace:
    import tensorflow as tf

    return _named(lambda name: operator.attrgetter(name)(tf), tf.__version__)


def _of_a_part() -> SimpleNamespace:
    with _standing_in() as package:
        importlib.import_module("tensorflow.python.data.ops.readers")  # brings all else that is named here
        behaviour = importlib.import_module("tensorflow.python.compat.v2_compat")
        exported = importlib.import_module("tensorflow.python.util.tf_export")
        versions = importlib.import_module("tensorflow.python.framework.versions")
        behaviour.enable_v2_behavior()  # as `import tensorflow` does
        setattr(package, _ASKED_OF_ARRAYS, exported.get_symbol_from_name(_ASKED_OF_ARRAYS))
        return _named(exported.get_symbol_from_name, versions.VERSION)


def _named(found: Callable[[str], Any], version: str) -> SimpleNamespace:
    names = {name.rpartition(".")[2]: found(name) for name in _NAMES}
    missing = [name for name, value in names.items() if value is None]
    if missing:
        raise AttributeError(f"TensorFlow {version} has no {', '.join(missing)}")
    return SimpleNamespace(**names, version=version)


class _StandIn(ModuleType):
    """The package `tensorflow` while a part of it is loaded: it knows where the modules lie, and what is asked of arrays."""

    def __getattr__(self, name: str) -> Any:
        """Give way to all of TensorFlow, for whoever asks for a name of its API or for a module that is not loaded yet.

        Raises:
            AttributeError: TensorFlow has no such name; or it is one that Python itself asks of every module that is loaded.
        """
        missing = AttributeError(f"module 'tensorflow' has no attribute {name!r}", name=name, obj=self)
        if name.startswith("__") and name not in _ASKED_OF_ALL:
            raise missing
        with _loading:  # another thread may be loading the part
            if sys.modules.get("tensorflow") is self:
                if "__path__" in vars(self):
                    raise missing  # a module of the part asks, while this thread loads it
                self._give_way()
        return getattr(sys.modules["tensorflow"], name)

    def _give_way(self) -> None:
        """Load all of TensorFlow, and know it from then on, for those who hold this; where that fails, as if nothing had been."""
        del sys.modules["tensorflow"]
        try:
            vars(self).update(vars(importlib.import_module("tensorflow")))
        except BaseException:
            sys.modules["tensorflow"] = self
            raise


@contextmanager
def _standing_in() -> Iterator[ModuleType]:
    """Have modules of TensorFlow found without running its `__init__.py`; where that fails, as if nothing had been there."""
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")
    package = _StandIn("tensorflow")
    package.__path__ = list(spec.submodule_search_locations)
    package.__spec__ = spec
    sys.modules["tensorflow"] = package
    try:
        yield package
    except BaseException:
        del sys.modules["tensorflow"]
        raise
    del package.__path__  # from here on who looks for another module there asks for all


@contextmanager
def _quiet() -> Iterator[None]:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet_stderr():
        yield
