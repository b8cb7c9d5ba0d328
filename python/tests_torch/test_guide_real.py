# SPDX-License-Identifier: Apache-2.0
"""Every Python block of the guide runs as it stands, with the real torch and transformers.

'bert-base-uncased' comes from the local hub that tools/hub-cache makes. The guide is found as in
python/tests/test_guide.py, which has the same tests with stand-ins for the libraries.
"""

import importlib.util
import pathlib
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "tests"))

import test_guide as guide  # noqa: E402

TORCH = importlib.util.find_spec("torch") and importlib.util.find_spec("transformers")
NO_GUIDE = "no guide: RESOURCE_POOL_GUIDE names none, and ../shared/seed is not there"

# What a block prints about the libraries it ran with, so that no stand-in is taken for them.
WHICH = """
import sys
print("\\nwith", *(sys.modules[name].__version__ for name in ("torch", "transformers") if name in sys.modules))
"""


@unittest.skipUnless(TORCH, "no torch and transformers in this Python")
@unittest.skipUnless(guide.FILES, NO_GUIDE)
class GuideWithTorch(unittest.TestCase):
    def setUp(self):
        text = "\n".join(each.read_text(encoding="utf-8") for each in guide.FILES)
        self.blocks = guide.blocks_of(text)
        self.modules = [source for _, source in self.blocks if guide.is_test_module(source)]
        self.assertGreaterEqual(len(self.blocks), 10)
        self.assertTrue(self.modules)

    def test_all_blocks_run_one_after_the_other(self):
        told, said = guide.run([*self.blocks, ("which", WHICH)], stand_ins=False)
        self.assertEqual({number: why for number, why in told.items() if why}, {})
        self.assertRegex(said, r"\nwith \d+\.\d+\S* \d+\.\d+\S*\n")
        self.assertIn("Resource pool stats", said)
        self.assertRegex(said, r"Model embedding:bert-base-uncased[^\n]*: [\d.]+ MB \(method: \w+, device: cpu\)")

    def test_each_block_runs_alone(self):
        """Or lacks only what an earlier block imported or defined."""
        for number, source in self.blocks:
            with self.subTest(f"block {number}"):
                told, _ = guide.run([(number, source)], stand_ins=False)
                if told[number]:
                    self.assertRegex(told[number], r"name '\w+' is not defined", told[number])

    def run_test_class(self, *command):
        said = []
        for source in self.modules:
            with tempfile.TemporaryDirectory() as folder:
                pathlib.Path(folder, "test_of_the_guide.py").write_text(source, encoding="utf-8")
                done = subprocess.run([sys.executable, "-m", *command], text=True, capture_output=True, timeout=240,
                                      env=guide.environment(folder, stand_ins=False), cwd=folder)
            self.assertEqual(done.returncode, 0, done.stdout[-2000:] + done.stderr[-4000:])
            said.append(done.stdout + done.stderr)
        return "\n".join(said)

    def test_its_test_class_passes_under_unittest(self):
        said = self.run_test_class("unittest", "-v", "test_of_the_guide")
        self.assertIn("Ran 2 tests", said)
        self.assertRegex(said, r"\nOK\n")

    @unittest.skipUnless(importlib.util.find_spec("xdist"), "no pytest-xdist in this Python")
    def test_its_test_class_passes_in_four_workers_of_pytest(self):
        said = self.run_test_class("pytest", "-n", "4", "test_of_the_guide.py")
        self.assertRegex(said, r"\b2 passed\b")


if __name__ == "__main__":
    unittest.main()
