# SPDX-License-Identifier: Apache-2.0
"""What a forked Python starts with its own interpreter is forked too, where RESOURCE_POOL_PYTHON_CHILDREN=1 asks for it."""

import json
import sys
import unittest

from forked import LAUNCHER, PYTHON, ForkServer

SUBPROCESSES = """
import asyncio, json, os, subprocess, sys
CODE = "import sys; print('decimal' in sys.modules, sys.executable, sys.argv[1:])"
def ask(*words, **options):
    return subprocess.run([*words], capture_output=True, text=True, **options).stdout.split(maxsplit=2)
async def ask_async():
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", CODE, stdout=asyncio.subprocess.PIPE)
    return (await child.communicate())[0].decode().split(maxsplit=2)
environment = {name: value for name, value in os.environ.items() if not name.startswith("RESOURCE_POOL_")}
child = subprocess.Popen([sys.executable, "-c", "import os; os.kill(os.getpid(), 10)"])
print(json.dumps({
    "plainly": [sys.executable, child.args[0], child.wait()],
    "run": ask(sys.executable, "-c", CODE, "a b"),
    "asyncio": asyncio.run(ask_async()),
    "isolated": ask(sys.executable, "-I", "-c", CODE),
    "clean": ask(sys.executable, "-c", CODE, env=environment),
    "shell": ask(f"{sys.executable} -c \\"{CODE}\\"", shell=True),
    "other": subprocess.run(["/bin/echo", "here"], capture_output=True, text=True).stdout.split()}))
"""
PROCESSES = """
import json, multiprocessing, os, sys
def work(number):
    return "decimal" in sys.modules, sys.executable, number * number
if __name__ == "__main__":
    method = sys.argv[1]
    context = multiprocessing.get_context(method)
    with context.Pool(2) as pool:
        found = pool.map(work, range(8))
    exits = context.Process(target=sys.exit, args=(7,))
    dies = context.Process(target=os.abort)
    for each in exits, dies:
        each.start()
        each.join()
    print(json.dumps([found, exits.exitcode, dies.exitcode, sys.executable]))
"""


class Children(ForkServer):
    def run_asking(self, *args, is_asked=True):
        env = {**self.env, "RESOURCE_POOL_PYTHON": LAUNCHER}
        if is_asked:
            env["RESOURCE_POOL_PYTHON_CHILDREN"] = "1"
        done = self.run_forked(*args, preload="decimal", env=env)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        return json.loads(done.stdout)

    def setUp(self):
        super().setUp()
        self.env["RESOURCE_POOL_PYTHON_PRELOADS"] = self.events + ".preloads"
        with open(self.env["RESOURCE_POOL_PYTHON_PRELOADS"], "w") as file:
            file.write("decimal\n")

    def test_subprocesses_of_the_own_interpreter(self):
        told = self.run_asking("-c", SUBPROCESSES)
        self.assertEqual(told["plainly"], [PYTHON, PYTHON, -10])
        self.assertEqual(told["run"], ["True", PYTHON, "['a b']\n"])
        self.assertEqual(told["asyncio"], ["True", PYTHON, "[]\n"])
        for name in "isolated", "clean", "shell":
            self.assertEqual(told[name], ["False", PYTHON, "[]\n"], name)
        self.assertEqual(told["other"], ["here"])
        self.assertEqual([reason for reason, _ in self.event_lines("plain")], ["the option -I"])

    def test_nothing_of_it_without_being_asked(self):
        self.assertEqual(self.run_asking("-c", SUBPROCESSES, is_asked=False)["run"][0], "False")
        self.assert_forked(1)

    def test_processes_of_multiprocessing(self):
        script = self.events + "-script.py"
        with open(script, "w") as file:
            file.write(PROCESSES)
        for method in "spawn", "forkserver":
            with self.subTest(method):
                found, exited, died, executable = self.run_asking(script, method)
                self.assertEqual(found, [[True, PYTHON, number * number] for number in range(8)])
                self.assertEqual((exited, died, executable), (7, -6, PYTHON))
        self.assertEqual(self.event_lines("plain"), [])


if __name__ == "__main__":
    sys.exit(unittest.main())
