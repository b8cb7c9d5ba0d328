# SPDX-License-Identifier: Apache-2.0
"""Models that are loaded before the fork: children get them in place of what a constructor would make."""

import os
import pathlib
import unittest

from forked import BUILD, ForkServer, until

MAKER = '''
import os

def make():
    return {"process": os.getpid(), "rows": [bytes(1000) for _ in range(1000)]}

def none():
    return None

def wrong():
    raise ValueError("no model here")
'''

USE = '''
import os
from resource_pool import get_global_resource_pool
pool = get_global_resource_pool()
model = pool.get_model("some", "thing", lambda: {"process": os.getpid()})
print("own" if model["process"] == os.getpid() else "inherited", pool.get_model("some", "thing") is model)
other = pool.get_model("some", "other", lambda: {"process": os.getpid()})
print("own" if other["process"] == os.getpid() else "inherited")
'''


class Models(ForkServer):
    def setUp(self):
        super().setUp()
        self.maker = pathlib.Path(self.folder, "maker.py")
        self.maker.write_text(MAKER)
        self.list = pathlib.Path(self.folder, "preloads-" + self.id().rpartition(".")[2])
        self.env |= {"RESOURCE_POOL_PYTHON_PRELOADS": str(self.list), "PYTHONPATH": str(BUILD / "python"),
                     "RESOURCE_POOL_SHARE": "process"}

    def use(self, lines):
        self.list.write_text(lines)
        done = self.run_forked("-c", USE)
        self.assertEqual(done.stderr, b"")
        self.assert_forked()
        return done.stdout.decode().split()

    def row(self):
        server = int(self.event_lines("forked")[0][1])
        return until(lambda: [row for row in self.fork_servers() if row["server_pid"] == server],
                     "the keeper's word to the broker")[0]

    def test_a_model_is_there_before_the_fork(self):
        self.assertEqual(self.use(f"@some thing {self.maker}:make  # a comment\n"), ["inherited", "True", "own"])
        told = [each for each in self.row()["preloads"] if each["name"].startswith("@some thing")]
        # What both ways would have cost is told, and which one it was.
        self.assertRegex(told[0]["note"], r"fork .* MiB, .* ms; segment .* MiB, .* ms: fork$")

    def test_without_a_line_the_constructor_makes_it(self):
        self.assertEqual(self.use("json\n"), ["own", "True", "own"])

    def test_one_that_cannot_be_made_is_refused_and_made_by_the_child(self):
        for function, reason in (("wrong", "ValueError: no model here"), ("none", "returned None"),
                                 ("absent", "AttributeError")):
            open(self.events, "w").close()
            self.assertEqual(self.use(f"@some thing {self.maker}:{function}\n"), ["own", "True", "own"])
            self.assertRegex(self.event_lines("refused")[0][1], reason)

    def test_a_maker_that_changed_makes_it_anew(self):
        lines = f"@some thing {self.maker}:make\n"
        self.assertEqual(self.use(lines), ["inherited", "True", "own"])
        first = self.event_lines("forked")[0][1]
        self.maker.write_text(MAKER + "\n# changed\n")
        open(self.events, "w").close()
        self.assertEqual(self.use(lines), ["inherited", "True", "own"])
        self.assertNotEqual(self.event_lines("forked")[0][1], first)

    def test_a_pool_that_shares_uses_it_too(self):
        self.env["RESOURCE_POOL_SHARE"] = "machine"
        self.assertEqual(self.use(f"@some thing {self.maker}:make\n")[:2], ["inherited", "True"])

    @unittest.skipUnless(os.path.exists("/proc/self/smaps_rollup"), "the kernel does not tell")
    def test_its_pages_are_the_servers(self):
        self.maker.write_text(MAKER.replace("bytes(1000) for", "os.urandom(100000) for"))
        self.list.write_text(f"@some thing {self.maker}:make\n")
        code = USE + '''
total = sum(len(row) for row in model["rows"])
text = open("/proc/self/smaps_rollup").read()
print(total, sum(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Private_")))
'''
        total, private = map(int, self.run_forked("-c", code).stdout.split()[-2:])
        self.assertEqual(total, 100_000_000)
        self.assertLess(private, total / 4)


if __name__ == "__main__":
    unittest.main()
