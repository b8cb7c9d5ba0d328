# SPDX-License-Identifier: Apache-2.0
"""`python -m resource_pool.bench`: rows of one shape, and what is left out is named. No time decides."""

import json
import math
import os
import subprocess
import sys
import unittest

from resource_pool import bench

SHAPE = {"name": str, "unit": str, "min": float, "median": float, "max": float, "baseline": float, "ratio": float}


def run(*arguments, **environment):
    return subprocess.run([sys.executable, "-m", "resource_pool.bench", *arguments], text=True, capture_output=True,
                          check=False, timeout=300, env={**os.environ, **environment})


class BenchTest(unittest.TestCase):
    def test_calls_has_rows_of_one_shape(self):
        done = run("calls", "--rounds", "1", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = json.loads(done.stdout)
        self.assertGreater(len(rows), 10)
        self.assertEqual(len({row["name"] for row in rows}), len(rows))
        for row in rows:
            self.assertEqual({key: type(value) for key, value in row.items()}, SHAPE)
            self.assertTrue(0 < row["min"] <= row["median"] <= row["max"], row)
            self.assertTrue(math.isfinite(row["ratio"]) and row["baseline"] > 0, row)

    def test_a_library_that_is_absent_is_named(self):
        class Kind(bench.Kind):
            needs = ("json", "no_such_library")

        self.assertEqual(bench.missing(Kind), "no_such_library")
        Kind.needs = ("json",)
        self.assertIsNone(bench.missing(Kind))

    def test_a_baseline_of_nothing_makes_no_row(self):
        table = bench.Table()
        table.add("nothing", "ms", [1.0], 0.0)
        self.assertEqual(table.rows, [])

    def test_ratios_are_taken_round_by_round(self):
        table = bench.Table()
        table.add("a", "ms", [1.0, 20.0, 3.0], [1.0, 10.0, 1.0])
        self.assertEqual(table.rows[0]["ratio"], 2.0)
        self.assertEqual(table.rows[0]["baseline"], 1.0)

    def test_a_child_does_as_it_is_told_and_ends(self):
        code = ("import sys, json\nfrom resource_pool.bench import Child\n"
                "def work():\n    yield {'a': 1}\n    yield {'b': 2}\n"
                "children = [Child(work) for _ in range(3)]\n"
                "print(json.dumps([child.ask() for child in children] + [children[0].ask()]))\n"
                "for child in children:\n    child.end()\n")
        done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=False, timeout=60)
        self.assertEqual(json.loads(done.stdout), [{"a": 1}] * 3 + [{"b": 2}], done.stderr)

    def test_a_child_that_dies_is_an_error(self):
        code = ("from resource_pool.bench import Child\n"
                "child = Child(lambda: iter([]))\n"
                "try:\n    child.ask()\nexcept RuntimeError as error:\n    print(error)\nchild.end()\n")
        done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=False, timeout=60)
        self.assertEqual(done.stdout, "a process that loads has died\n", done.stderr)


if __name__ == "__main__":
    unittest.main()
