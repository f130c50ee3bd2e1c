"""What shards are read back with: a few functions of TensorFlow, by their public names.

`import tensorflow` takes 3 CPU seconds, of which these functions need one: the rest is Keras, and names that are looked up for all
of its API.  A process that only works on a build loads just them.  They are the very objects that `import tensorflow` would name.

For that a package without content stands in for `tensorflow`, which its modules find their kind in; `import tensorflow` gives that
package from then on, so no other code of such a process may need TensorFlow.  Where another release has other modules, all of it is
loaded, as everywhere else.
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

from aesthetics_ops.machine import quiet_stderr

__all__ = ["kernels", "load_a_part"]

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

_loading: Final = threading.RLock()
_loaded: list[SimpleNamespace] = []


def kernels() -> Any:
    """Return what shards are read back with, each name without those of its modules, and `version` of TensorFlow.

    The first call loads TensorFlow, all of it unless `load_a_part` did it before.
    """
    with _loading:
        if not _loaded:
            with _quiet():
                _loaded.append(_of_all())
        return _loaded[0]


def load_a_part() -> None:
    """Load what shards are read back with, and no more of TensorFlow.

    For processes of which the whole life is known: nothing in them but this module needs TensorFlow.
    """
    with _loading:
        if _loaded or "tensorflow" in sys.modules:
            return
        try:
            with _quiet():
                _loaded.append(_of_a_part())
        except Exception as error:  # whatever another release does there
            _log.debug("all of TensorFlow is loaded, since a part of it cannot be: %s: %s", type(error).__name__, error)
            kernels()


def _of_all() -> SimpleNamespace:
    import tensorflow as tf

    return _named(lambda name: operator.attrgetter(name)(tf), tf.__version__)


def _of_a_part() -> SimpleNamespace:
    with _standing_in():
        importlib.import_module("tensorflow.python.data.ops.readers")  # brings all else that is named here
        behaviour = importlib.import_module("tensorflow.python.compat.v2_compat")
        exported = importlib.import_module("tensorflow.python.util.tf_export")
        versions = importlib.import_module("tensorflow.python.framework.versions")
        behaviour.enable_v2_behavior()  # as `import tensorflow` does
        return _named(exported.get_symbol_from_name, versions.VERSION)


def _named(found: Callable[[str], Any], version: str) -> SimpleNamespace:
    names = {name.rpartition(".")[2]: found(name) for name in _NAMES}
    missing = [name for name, value in names.items() if value is None]
    if missing:
        raise AttributeError(f"TensorFlow {version} has no {', '.join(missing)}")
    return SimpleNamespace(**names, version=version)


@contextmanager
def _standing_in() -> Iterator[None]:
    """Have modules of TensorFlow found without running its `__init__.py`; where that fails, as if nothing had been there."""
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")
    package = ModuleType("tensorflow")
    package.__path__ = list(spec.submodule_search_locations)
    package.__spec__ = spec
    sys.modules["tensorflow"] = package
    try:
        yield
    except BaseException:
        del sys.modules["tensorflow"]
        raise


@contextmanager
def _quiet() -> Iterator[None]:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet_stderr():
        yield
