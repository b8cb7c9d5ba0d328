# SPDX-License-Identifier: Apache-2.0
"""The shipped examples run with the real libraries: as unittest, and as pytest with four workers."""

import importlib.util
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "python"
HUB = os.environ.get("HF_HOME") or str(ROOT / "build" / "hub")


def has(*modules):
    return all(importlib.util.find_spec(name) for name in modules)


def run(*command, **more):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "HF_HUB_OFFLINE": "1", "HF_HOME": HUB,
           "RESOURCE_POOL_HISTORY": "off", "PYTHONDONTWRITEBYTECODE": "1", **more}
    return subprocess.run([sys.executable, *map(str, command)], text=True, capture_output=True, timeout=300,
                          check=False, env=env, cwd=ROOT)


class Examples(unittest.TestCase):
    @unittest.skipUnless(has("torch", "transformers"), "torch or transformers is not installed")
    def test_the_test_class(self):
        done = run("-m", "unittest", "-v", EXAMPLES / "test_example_models.py")
        self.assertEqual(done.returncode, 0, done.stderr)
        if "skipped=" in done.stderr or "skipped '" in done.stderr:
            self.skipTest(re.search(r"skipped (['\"])(.*)\1", done.stderr).group(2))
        self.assertIn("Ran 5 tests", done.stderr)

    @unittest.skipUnless(has("torch", "safetensors", "numpy", "pytest", "xdist"),
                         "torch or xdist is not installed")
    def test_the_suite_with_four_workers(self):
        with tempfile.TemporaryDirectory() as folder:
            done = run("-m", "pytest", "-q", "-n", "4", "-p", "no:cacheprovider", EXAMPLES / "suite",
                       EXAMPLE_SUITE_FOLDER=folder, EXAMPLE_SUITE_LAYERS="1", EXAMPLE_SUITE_WIDTH="64")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertRegex(done.stdout, r"\b32 passed\b")


if __name__ == "__main__":
    unittest.main()
