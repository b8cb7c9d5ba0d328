# SPDX-License-Identifier: Apache-2.0
"""What a stranger gets from the source tree: a wheel, in an empty virtual environment, and a source archive.

Nothing here touches the network: meson-python and ninja are those of the Python that runs this.
"""

import importlib.util
import os
import pathlib
import re
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import unittest
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.append(str(HERE.parent / "tests"))

import test_guide as guide  # noqa: E402

NO_GUIDE = "no guide: RESOURCE_POOL_GUIDE names none, and ../shared/seed is not there"
PIP = [sys.executable, "-I", "-m", "pip", "--isolated", "--disable-pip-version-check", "-q"]
BUILD_SDIST = "import sys, mesonpy; print(mesonpy.build_sdist(sys.argv[1]))"
WHERE = """
import sys, resource_pool, hardware_detection, model_family_classifier, hardware_model_integration
from resource_pool import get_global_resource_pool
pool = get_global_resource_pool()
print(pool.get_model("kind", "name", constructor=lambda: "made"), pool.get_stats()["misses"], resource_pool.__file__)
"""


def setUpModule():
    global scratch, wheel
    missing = [name for name in ("mesonpy", "mesonbuild", "pip") if not importlib.util.find_spec(name)]
    if missing:
        raise unittest.SkipTest(f"this Python has no {', no '.join(missing)}")
    scratch = tempfile.TemporaryDirectory()
    unittest.addModuleCleanup(scratch.cleanup)
    wheel = make_wheel(ROOT, "wheel")


def run(command, env=None, cwd=None):
    done = subprocess.run([str(word) for word in command], text=True, capture_output=True, timeout=600, cwd=cwd,
                          env=env or build_environment())
    if done.returncode != 0:
        raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout + done.stderr


def build_environment():
    """Ours, with this Python's tools found first, and the C header of tools/setup also for a tree elsewhere."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MESON", "PIP_"))}
    env["PATH"] = os.pathsep.join([str(pathlib.Path(sys.executable).parent), env["PATH"]])
    headers = ROOT / "build/deps/include/onnxruntime"
    if headers.is_dir():
        env["C_INCLUDE_PATH"] = str(headers)
    return env


def make_wheel(source, name):
    folder = pathlib.Path(scratch.name, name)
    run([*PIP, "wheel", "--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir", folder, source])
    (made,) = folder.iterdir()
    return made


def names_in(file):
    with zipfile.ZipFile(file) as files:
        return set(files.namelist())


def modules_of(files):
    """Every module, stub and marker among the names of a source tree's files, as a wheel names it."""
    found = (re.fullmatch(r"python/((?:resource_pool/)?\w+\.(?:pyi?|typed))", name) for name in files)
    return {each.group(1) for each in found if each}


def files_of_tree():
    return [each.relative_to(ROOT).as_posix() for each in (ROOT / "python").rglob("*")]


class Environment:
    """A new virtual environment with the wheel in it and nothing else; or also with what this Python has."""

    def __init__(self, name, with_ours=False):
        self.folder = pathlib.Path(scratch.name, name)
        run([sys.executable, "-I", "-m", "venv", "--without-pip", self.folder])
        self.python = self.folder / "bin/python"
        self.packages = pathlib.Path(run([self.python, "-I", "-c",
                                          "import sysconfig; print(sysconfig.get_path('platlib'))"]).strip())
        self.pip("install", "--no-index", wheel)
        if with_ours:
            (self.packages / "ours.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def pip(self, *words):
        run([*PIP, "--python", self.python, *words])

    def run_guide(self, *command, stand_ins):
        """The guide's test class with this environment's Python; the package comes from nowhere else."""
        (source,) = [source for _, source in guide_blocks() if guide.is_test_module(source)]
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "test_of_the_guide.py").write_text(source, encoding="utf-8")
            env = guide.environment(folder, stand_ins)
            env["PYTHONPATH"] = str(guide.STAND_INS) if stand_ins else ""
            return run([self.python, "-m", *command], env=env, cwd=folder)


def guide_blocks():
    return guide.blocks_of("\n".join(each.read_text(encoding="utf-8") for each in guide.FILES))


class Wheel(unittest.TestCase):
    def test_it_is_for_the_stable_abi(self):
        self.assertRegex(wheel.name, r"^resource_pool-[\d.]+-cp3\d+-abi3-linux_\w+\.whl$")

    def test_it_holds_every_module_and_nothing_of_the_build(self):
        names = {name for name in names_in(wheel) if ".dist-info/" not in name}
        self.assertEqual(names, modules_of(files_of_tree()) | {"resource_pool/_core.abi3.so"})

    def test_it_works_in_an_empty_environment(self):
        empty = Environment("empty")
        said = run([empty.python, "-I", "-c", WHERE], cwd=empty.folder).split()
        self.assertEqual(said[:2], ["made", "1"])
        self.assertEqual(pathlib.Path(said[2]).resolve(), (empty.packages / "resource_pool/__init__.py").resolve())

        if guide.FILES:
            said = empty.run_guide("unittest", "-v", "test_of_the_guide", stand_ins=True)
            self.assertIn("Ran 2 tests", said)

        empty.pip("uninstall", "--yes", "resource-pool")
        self.assertEqual([each.name for each in empty.packages.rglob("*") if each.is_file()], [])

    @unittest.skipUnless(guide.FILES, NO_GUIDE)
    @unittest.skipUnless(importlib.util.find_spec("xdist") and importlib.util.find_spec("transformers"),
                         "no pytest-xdist, no transformers in this Python")
    def test_the_guide_passes_in_four_workers_of_pytest_with_the_real_libraries(self):
        beside = Environment("beside", with_ours=True)
        said = beside.run_guide("pytest", "-n", "4", "test_of_the_guide.py", stand_ins=False)
        self.assertRegex(said, r"\b2 passed\b")


@unittest.skipUnless((ROOT / ".git").exists(), "a source archive is made from a git checkout, which this is not")
class SourceArchive(unittest.TestCase):
    def test_it_builds_to_a_wheel_of_its_own(self):
        folder = pathlib.Path(scratch.name, "archive")
        folder.mkdir()
        run([sys.executable, "-I", "-c", BUILD_SDIST, folder], cwd=ROOT)
        (archive,) = folder.glob("resource_pool-*.tar.gz")
        with tarfile.open(archive) as files:
            inside = [name.partition("/")[2] for name in files.getnames()]
        self.assertEqual([name for name in inside if name.startswith("build/")], [])
        made = names_in(make_wheel(archive, "from_archive"))
        self.assertLessEqual(modules_of(inside) | {"resource_pool/_core.abi3.so"}, made)


if __name__ == "__main__":
    unittest.main()
