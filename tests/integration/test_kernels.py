"""A part of TensorFlow reads back as all of it does; where the part cannot be loaded, all of it is."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from aesthetics_ops.validation import shard
from aesthetics_ops.validation.kernels import kernels
from tests.support.paths import ROOT

UNIT = ROOT / "tests" / "unit"
FILES = sorted((ROOT / "tests" / "data").rglob("*.jp*g"))

DECODE = """
import hashlib, json, sys
from pathlib import Path

def decoded(data, tf):
    try:
        shape = tf.extract_jpeg_shape(data).numpy().tolist()
        pixels = tf.decode_jpeg(data, channels=3, ratio=8, dct_method="INTEGER_ACCURATE").numpy()
    except tf.InvalidArgumentError as error:
        return error.message.splitlines()[0]
    return shape, pixels.shape, hashlib.sha256(pixels.tobytes()).hexdigest()

def all_decoded(paths, tf):
    files = [Path(path).read_bytes() for path in paths]
    return [decoded(data, tf) for whole in files for data in (whole, whole[: len(whole) // 2])]
"""


def run(code: str, *words: object) -> str:
    """Run code in a process that has not loaded TensorFlow; return what it prints."""
    command = [sys.executable, "-c", code, *map(str, words)]
    reply = subprocess.run(command, capture_output=True, text=True, check=False)
    assert reply.returncode == 0, reply.stdout + reply.stderr
    return reply.stdout


def test_verdicts_of_a_part_are_those_of_all() -> None:
    """What is known of verdicts holds in a process that loaded a part, and nothing in it loads the rest."""
    run(
        "import sys, pytest; from aesthetics_ops.validation.kernels import kernels; kernels();"
        "status = pytest.main(['-q', '-p', 'no:cacheprovider', '-p', 'no:xdist', *sys.argv[1:]]);"
        "sys.exit(status or ('keras' in sys.modules and 'all of TensorFlow is loaded'))",
        UNIT / "validation" / "test_shard.py",
    )


def test_pixels_and_refusals_of_a_part_are_those_of_all(tmp_path: Path) -> None:
    """Of photos of many kinds, whole and cut; and each name is the very object that `import tensorflow` has under it."""
    progressive, gray = tmp_path / "progressive.jpg", tmp_path / "gray.jpg"
    pixels = np.random.default_rng(7).integers(0, 256, (61, 83, 3), np.uint8)
    cv2.imwrite(str(progressive), pixels, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])
    cv2.imwrite(str(gray), pixels[:, :, 0])
    paths = [progressive, gray, *FILES]
    of_a_part = json.loads(
        run(
            DECODE + "from aesthetics_ops.validation import kernels\n"
            "part = kernels.kernels()\n"
            "print(json.dumps(all_decoded(sys.argv[1:], part)))\n"
            "assert 'keras' not in sys.modules\n"
            "all_of_it = kernels._of_all()\n"
            "other = [name for name, value in vars(part).items() if getattr(all_of_it, name) is not value]\n"
            "assert set(other) <= {'constant', 'version'}, other\n"
            "assert part.version == all_of_it.version",
            *paths,
        )
    )
    here: dict[str, object] = {}
    exec(DECODE, here)  # noqa: S102 - the same code in both processes
    assert of_a_part == json.loads(json.dumps(here["all_decoded"](paths, kernels())))  # type: ignore[operator]
    assert sum(isinstance(each, list) for each in of_a_part) > 20
    assert sum(isinstance(each, str) for each in of_a_part) > 20


@pytest.mark.parametrize(
    "breaks",
    [
        "sys.modules['tensorflow.python.util.tf_export'] = None",
        "sys.modules['tensorflow.python.data.ops'] = None",
        "kernels._NAMES += ('no_such_name',); kernels._of_all = lambda: 'all'",
    ],
    ids=["module", "package", "name"],
)
def test_all_is_loaded_where_a_part_cannot_be(breaks: str) -> None:
    said = run(
        "import importlib, sys; from aesthetics_ops.validation import kernels\n"
        f"{breaks}\n"
        "real = kernels._of_all\n"
        "def whole():\n"
        "    for name in [name for name, module in sys.modules.items() if module is None]: del sys.modules[name]\n"
        "    print('all', 'tensorflow' in sys.modules)\n"
        "    return real()\n"
        "kernels._of_all = whole\n"
        "print(getattr(kernels.kernels(), 'version', None))\n"
    )
    assert said.splitlines()[0] == "all False"
    assert said.splitlines()[1] == ("None" if "name" in breaks else kernels().version)


@pytest.mark.parametrize(
    "wants",
    [
        "import tensorflow as tf; assert tf.__version__ == kernels().version; assert not hasattr(tf, 'no_such_name')",
        "from tensorflow.io import decode_jpeg; assert decode_jpeg is kernels().decode_jpeg",
        "import tensorflow.keras; assert tensorflow.keras.Sequential",
        "import keras; assert keras.Sequential([keras.layers.Dense(2)])(np.ones((1, 3))).shape == (1, 2)",
    ],
)
def test_who_wants_tensorflow_after_a_part_gets_all_of_it(wants: str) -> None:
    """Python's own questions to every module do not load it; a name of its API does, and who held the stand-in has it too."""
    said = run(
        "import inspect, sys; import numpy as np; from aesthetics_ops.validation.kernels import kernels\n"
        "kernels()\n"
        "stand_in = sys.modules['tensorflow']\n"
        "inspect.getmodule(run := lambda: None); inspect.stack(); assert not hasattr(stand_in, '__file__')\n"
        "assert 'keras' not in sys.modules\n"
        "assert sys.modules['tensorflow'] is stand_in\n"
        f"{wants}\n"
        "assert sys.modules['tensorflow'] is not stand_in\n"
        "import tensorflow\n"
        "assert stand_in.function is tensorflow.function is kernels().function\n"
        "print(stand_in.__version__ == tensorflow.__version__)\n"
    )
    assert said.splitlines()[-1] == "True"


def test_a_whole_build_needs_no_more_than_a_part(tmp_path: Path) -> None:
    """Plots too: matplotlib asks every array whether it is a tensor, wherever there is a package `tensorflow`."""
    samples = (ROOT / "samples").as_uri()
    run(
        "import sys; from aesthetics_ops import BuildSettings, build_dataset\n"
        "photos, labels, dataset = sys.argv[1:]\n"
        "assert build_dataset(BuildSettings(photos=photos, labels=labels, dataset=dataset)).manifest.records > 50\n"
        "assert 'tensorflow' in sys.modules and 'keras' not in sys.modules, 'all of TensorFlow is loaded'\n",
        f"{samples}/photos/",
        f"{samples}/AVA.txt",
        tmp_path.as_uri() + "/dataset/",
    )


def test_the_reader_of_tensorflow_reads_as_ever_after_a_part() -> None:
    run(
        "import sys, pytest; from aesthetics_ops.validation.kernels import kernels; kernels(); was = sys.modules['tensorflow'];"
        "status = pytest.main(['-q', '-p', 'no:cacheprovider', '-p', 'no:xdist', *sys.argv[1:]]);"
        "sys.exit(status or (sys.modules['tensorflow'] is was and 'a part was enough'))",
        f"{UNIT / 'readers' / 'test_tensorflow.py'}::test_jpegs_are_strings_for_those_who_decode_themselves",
        f"{UNIT / 'readers' / 'test_tensorflow.py'}::test_two_epochs_are_those_of_numpy",
    )


def test_reading_back_asks_for_as_many_threads_as_training() -> None:
    import tensorflow as tf

    assert shard._AUTOTUNE == tf.data.AUTOTUNE
