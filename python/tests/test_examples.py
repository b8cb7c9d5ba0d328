# SPDX-License-Identifier: Apache-2.0
"""Examples that need no other library."""

import os
import pathlib
import re
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "examples" / "python" / "notebook.py"


def run(*command, text=None):
    return subprocess.run([sys.executable, "-W", "error", *map(str, command)], text=True, capture_output=True,
                          timeout=60, check=False, input=text,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})


@unittest.skipUnless(NOTEBOOK.exists(), "the examples are not beside the tests")
class Examples(unittest.TestCase):
    def test_the_notebook_runs_as_a_script(self):
        done = run(NOTEBOOK)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("embedding:demo: 8.0 MB on cpu", done.stdout)

    def test_a_cell_may_run_twice(self):
        cells = re.split(r"^# %%.*$", NOTEBOOK.read_text(encoding="utf-8"), flags=re.M)
        done = run("-c", "".join(cells[:4] + cells[3:4]) + "\nprint(pool.get_stats()['misses'])")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(done.stdout.splitlines()[-1], "1")


def python_blocks(path):
    return re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), flags=re.M | re.S)


class Pages(unittest.TestCase):
    """Every block of Python in the pages for users runs as it stands, without another library."""

    def run_blocks(self, name, last=None):
        path = ROOT / name
        if not path.exists():
            self.skipTest("the pages are not beside the tests")
        blocks = python_blocks(path)[:last]
        self.assertTrue(blocks)
        for block in blocks:
            with self.subTest(block.splitlines()[0]):
                done = run("-c", block)
                self.assertEqual((done.returncode, done.stderr), (0, ""), block)

    def test_the_first_page(self):
        self.run_blocks("README.md", last=1)  # the second is for pytest

    def test_migration(self):
        self.run_blocks("docs/migration.md")

    def test_best_practices(self):
        self.run_blocks("docs/best_practices.md")


if __name__ == "__main__":
    unittest.main()
