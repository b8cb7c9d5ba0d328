# SPDX-License-Identifier: Apache-2.0
"""Every Python block of the guide runs as it stands.

The guide is not in this repository: RESOURCE_POOL_GUIDE names it (a file, or a folder of .txt and .md
files); without it, ../shared/seed beside the source tree. torch and transformers are stand-ins.

As a program this prints what became of each block: PYTHONPATH=build/python python3 python/tests/test_guide.py
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import textwrap
import unittest

HERE = pathlib.Path(__file__).resolve().parent
STAND_INS = HERE / "stand_ins"
FENCE = re.compile(r"^([ \t]*)```python[ \t]*\n(.*?)^\1```[ \t]*$", re.MULTILINE | re.DOTALL)

# Runs in a process of its own: blocks from the standard input, into one namespace, as a reader of the
# guide would paste them. After the first that fails it goes on.
RUNNER = """
import json, sys, traceback
blocks = json.load(sys.stdin)
names = {"__name__": "guide", "__file__": "guide.py"}
told = []
for number, text in blocks:
    try:
        exec(compile(text, f"<block {number}>", "exec"), names)
        told.append([number, None])
    except BaseException as problem:
        told.append([number, "".join(traceback.format_exception_only(type(problem), problem)).strip()])
print("\\n@@" + json.dumps(told))
"""


def guide_files():
    path = pathlib.Path(os.environ.get("RESOURCE_POOL_GUIDE") or HERE.parents[1].parent / "shared" / "seed")
    if path.is_dir():
        return sorted(each for each in path.iterdir() if each.suffix in (".txt", ".md"))
    return [path] if path.is_file() else []


def blocks_of(text):
    """[(number from 1, source)], without the indentation of a list that a block stands in."""
    return [(number, textwrap.dedent(found.group(2)))
            for number, found in enumerate(FENCE.finditer(text), start=1)]


def environment(folder, stand_ins=True):
    kept = {name: value for name, value in os.environ.items()
            if name not in ("RESOURCE_POOL_SIMULATE", "RESOURCE_POOL_SHARE", "RESOURCE_POOL_LOW_MEMORY")}
    paths = [str(STAND_INS)] if stand_ins else []
    paths += [each for each in sys.path if each and pathlib.Path(each) != HERE]
    return {**kept, "PYTHONPATH": os.pathsep.join(paths), "HARDWARE_DETECTION_CACHE": "off",
            "RESOURCE_POOL_HISTORY": "off", "HOME": folder, "XDG_CACHE_HOME": folder}


def run(blocks, stand_ins=True):
    """{number: None, or what went wrong}, and what was printed."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([sys.executable, "-c", RUNNER], input=json.dumps(blocks), text=True, timeout=120,
                              capture_output=True, env=environment(folder, stand_ins), cwd=folder)
    said, mark, told = done.stdout.rpartition("\n@@")
    if done.returncode != 0 or not mark:
        raise AssertionError(f"the process ended with {done.returncode}: {done.stderr[-2000:]}")
    return dict(json.loads(told)), said


def is_test_module(source):
    return "unittest.TestCase" in source


FILES = guide_files()


@unittest.skipUnless(FILES, "no guide: RESOURCE_POOL_GUIDE names none, and ../shared/seed is not there")
class Guide(unittest.TestCase):
    def setUp(self):
        self.blocks = blocks_of("\n".join(each.read_text(encoding="utf-8") for each in FILES))

    def test_there_are_blocks(self):
        self.assertGreaterEqual(len(self.blocks), 10)
        for number, source in self.blocks:
            compile(source, f"<block {number}>", "exec")

    def test_all_blocks_run_one_after_the_other(self):
        told, said = run(self.blocks)
        self.assertEqual({number: why for number, why in told.items() if why}, {})
        self.assertIn("Resource pool stats", said)
        self.assertIn("Total memory usage", said)
        self.assertRegex(said, r"Model embedding:bert-base-uncased[^\n]*: [\d.]+ MB \(method: \w+, device: cpu\)")

    def test_each_block_runs_alone(self):
        """Or lacks only what an earlier block imported or defined."""
        for number, source in self.blocks:
            with self.subTest(f"block {number}"):
                told, _ = run([(number, source)])
                if told[number]:
                    self.assertRegex(told[number], r"name '\w+' is not defined", told[number])

    def test_its_test_class_passes(self):
        modules = [source for _, source in self.blocks if is_test_module(source)]
        self.assertTrue(modules)
        for source in modules:
            with tempfile.TemporaryDirectory() as folder:
                pathlib.Path(folder, "test_of_the_guide.py").write_text(source, encoding="utf-8")
                done = subprocess.run([sys.executable, "-m", "unittest", "-v", "test_of_the_guide"], text=True,
                                      capture_output=True, timeout=120, env=environment(folder), cwd=folder)
            self.assertEqual(done.returncode, 0, done.stderr[-2000:])
            self.assertIn("Ran 2 tests", done.stderr)


class Extraction(unittest.TestCase):
    def test_blocks_are_found(self):
        text = "a\n```python\nx = 1\n```\n```bash\nls\n```\n19. b:\n   ```python\n   if x:\n       y = 2\n   ```\n"
        self.assertEqual(blocks_of(text), [(1, "x = 1\n"), (2, "if x:\n    y = 2\n")])


def main():
    blocks = blocks_of("\n".join(each.read_text(encoding="utf-8") for each in FILES))
    together, _ = run(blocks)
    for number, source in blocks:
        alone = run([(number, source)])[0][number]
        first = next((line.strip() for line in source.splitlines() if line.strip()), "")
        print(f"{number:3} in order: {together[number] or 'runs'}; alone: {alone or 'runs'}; {first[:60]}")


if __name__ == "__main__":
    main() if sys.argv[1:] == [] and FILES else unittest.main()
