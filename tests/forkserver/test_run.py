# SPDX-License-Identifier: Apache-2.0
"""'rpool run' and Pythons: which are forked, what is learnt for the next run, and what is said of it."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import unittest

from forked import PATIENCE, PYTHON, RPOOL, ForkServer, state_of, until

HEAVY = """
import time
begin = time.process_time()
while time.process_time() - begin < 0.05: pass
ballast = bytearray(8 << 20)
"""


class Run(ForkServer):
    def setUp(self):
        super().setUp()
        self.work = os.path.join(self.folder, self.id().rpartition(".")[2])
        os.mkdir(self.work)
        self.temporary = os.path.join(self.work, "tmp")
        os.mkdir(self.temporary)
        # An environment of its own: only what is in the folders of libraries is learnt.
        venv = os.path.join(self.work, "venv")
        subprocess.run([PYTHON, "-m", "venv", "--without-pip", "--symlinks", venv], check=True)
        (self.site,) = map(str, pathlib.Path(venv, "lib").glob("python3*/site-packages"))
        self.env = {name: value for name, value in self.env.items() if name != "RESOURCE_POOL_PYTHON_EVENTS"}
        self.env |= {"PATH": f"{venv}/bin:{os.environ['PATH']}", "TMPDIR": self.temporary,
                     "RESOURCE_POOL_RUNS": f"{self.work}/kept/runs.json"}
        self.python = "python"

    def rpool_run(self, *arguments, **options):
        """Exit code, stdout, stderr, the document's part."""
        document = os.path.join(self.work, "report.json")
        options.setdefault("env", self.env)
        options.setdefault("cwd", self.work)
        done = subprocess.run([RPOOL, "run", "--json", document, *arguments], capture_output=True, text=True,
                              check=False, timeout=PATIENCE, stdin=subprocess.DEVNULL, **options)
        report = json.loads(pathlib.Path(document).read_text())["python"] if os.path.exists(document) else None
        return done.returncode, done.stdout, done.stderr, report

    def library(self, name, text=""):
        path = pathlib.Path(self.site, *name.split("."))
        if "." not in name:
            path.mkdir()
            path /= "__init__"
        path.with_suffix(".py").write_text(text)

    def script(self, text, name="script.py"):
        pathlib.Path(self.work, name).write_text(text)
        return name

    def preloads(self):
        files = list(pathlib.Path(self.work, "kept").glob("preloads-*.txt"))
        self.assertLessEqual(len(files), 1)
        return files[0] if files else None

    def listed(self):
        return [line for line in self.preloads().read_text().splitlines() if not line.startswith("#")]


class Forking(Run):
    def test_python_is_forked_by_whichever_name_and_sees_nothing_of_it(self):
        script = self.script("import sys, os; print(sys.executable, os.getcwd(), sys.argv[1:])")
        plain = subprocess.run([f"{self.work}/venv/bin/python", script, "a"], env=self.env, cwd=self.work, capture_output=True,
                               text=True, check=True).stdout
        for name in {self.python, "python3"}:
            code, out, err, report = self.rpool_run("--", name, script, "a")
            self.assertEqual((code, report["forked"], report["plain"]), (0, 1, 0), err)
            if name == self.python:
                self.assertEqual(out, plain)
            self.assertRegex(err, r"rpool: python: 1 of 1 process forked from 1 server with nothing loaded yet\n")

    def test_exit_codes_and_signals_are_the_programs(self):
        for text, expected in (("raise SystemExit(7)", 7), ("1/0", 1),
                               ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", 128 + signal.SIGTERM)):
            code, _, err, report = self.rpool_run("--", self.python, "-c", text)
            self.assertEqual((code, report["forked"]), (expected, 1), err)

    def test_what_is_started_plainly_is_counted_with_its_reason(self):
        code, out, err, report = self.rpool_run(
            "--", "sh", "-c", f"{self.python} -X utf8 -c 'print(1)'; {self.python} -c 'print(2)';"
                              f"{self.python} -I -c 'print(3)'; {self.python} -X dev -c 'print(4)'")
        self.assertEqual((code, out), (0, "1\n2\n3\n4\n"), err)
        self.assertEqual((report["forked"], report["plain"]), (1, 3), err)
        self.assertEqual(sum(report["reasons"].values()), 3)
        self.assertIn("rpool: python: 1 of 4 processes forked", err)
        self.assertRegex(err, r"(?m)^rpool: python: 2 plain: .*-X")
        self.assertRegex(err, r"(?m)^rpool: python: 1 plain: .*-I")

    def test_a_run_without_python_says_nothing_of_it(self):
        code, out, err, report = self.rpool_run("--", "sh", "-c", "echo $PATH; ls -a $TMPDIR | wc -l")
        self.assertEqual(code, 0)
        self.assertNotIn("python:", err)
        self.assertEqual((report["forked"], report["plain"], report["servers"]), (0, 0, 0))
        self.assertIsNone(self.preloads())
        self.assertEqual(list(pathlib.Path(self.work, "kept").glob("preloads*")), [])
        first = out.split(":")[0]
        self.assertTrue(first.startswith("/") and first.endswith("/python"), first)
        self.assertFalse(os.path.exists(first))
        self.assertEqual(os.listdir(self.temporary), [])

    def test_where_no_python_is_nothing_is_done(self):
        tools = os.path.join(self.work, "bin")
        os.mkdir(tools)
        os.symlink(shutil.which("sh"), f"{tools}/sh")
        env = {**self.env, "PATH": tools}
        code, out, err, report = self.rpool_run("--", "sh", "-c", "echo $PATH", env=env)
        self.assertEqual((code, out, report), (0, tools + "\n", None))
        self.assertNotIn("Python", err)

    def test_plain_is_plain(self):
        tell = "import os; print(os.environ['RESOURCE_POOL_PYTHON'], 'EVENTS' in ' '.join(os.environ))"
        for switch in (("--python", "plain"), ("--share", "process")):
            code, out, err, report = self.rpool_run(*switch, "--", self.python, "-c", tell)
            self.assertEqual((code, out, report), (0, "off False\n", None), err)
            self.assertNotIn("python:", err)
        env = {**self.env, "RESOURCE_POOL_PYTHON": "off"}
        self.assertEqual(self.rpool_run("--", self.python, "-c", tell, env=env)[1], "off False\n")
        code, _, err, _ = self.rpool_run("--python", "warm", "--", self.python, "-c", "1")
        self.assertEqual(code, 125)
        self.assertIn("'--python warm': neither 'fork' nor 'plain'", err)

    def test_a_run_in_a_run_is_counted_once_by_the_outer_one(self):
        inner = os.path.join(self.work, "inner.json")
        code, out, err, report = self.rpool_run("--", RPOOL, "run", "--json", inner, "--", self.python, "-c",
                                                "import os; print(os.environ['PATH'].count('/python:'))")
        self.assertEqual((code, report["forked"]), (0, 1), err)
        self.assertEqual(err.count("rpool: python: 1 of 1"), 1)
        self.assertIsNone(json.loads(pathlib.Path(inner).read_text())["python"])
        before = self.env["PATH"].count("/python:")
        self.assertEqual(int(out), before + 1)

    def test_an_isolated_run_takes_its_servers_with_it(self):
        code, out, err, report = self.rpool_run(
            "--isolated", "--", self.python, "-c", "import os; print(os.environ['RESOURCE_POOL_BROKER'], os.getppid())")
        self.assertEqual((code, report["forked"]), (0, 1), err)
        folder, server = out.split()
        until(lambda: state_of(int(server)) == "", "the end of the server")
        until(lambda: not os.path.exists(folder), "the end of its folder")

    def test_what_a_killed_run_leaves_goes_with_the_next(self):
        ready = os.path.join(self.work, "ready")
        os.mkfifo(ready)
        process = subprocess.Popen([RPOOL, "run", "--", self.python, "-c",
                                    f"import os, time; open({ready!r}, 'w').write(os.environ['PATH']); time.sleep(60)"],
                                   env=self.env, cwd=self.work, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   stdin=subprocess.DEVNULL, start_new_session=True)
        self.started.append(process)
        with open(ready) as pipe:
            links = pipe.read().split(":")[0]
        self.assertIn(self.python, os.listdir(links))
        process.kill()
        process.wait()
        with contextlib.suppress(ProcessLookupError):  # whoever was told of its end has gone already
            os.killpg(process.pid, signal.SIGKILL)
        self.rpool_run("--", "true")
        self.assertFalse(os.path.exists(os.path.dirname(links)))


class Learning(Run):
    def test_what_every_worker_imports_is_loaded_the_next_time(self):
        self.library("heavy", HEAVY)
        self.library("heavy.part")
        self.library("light")
        self.library("once")
        self.script("import helper", "conftest.py")
        self.script("", "helper.py")
        script = self.script("import os, sys, light, heavy.part, conftest\n"
                             "if sys.argv[1] == '1': import once\n"
                             "print(sorted({'heavy', 'light', 'once'} & set(sys.argv[2:])))\n")
        both = f"{self.python} {script} 1; {self.python} {script} 2"
        code, _, err, report = self.rpool_run("--", "sh", "-c", both)
        self.assertEqual((code, report["forked"], report["learnt"]), (0, 2, 3), err)
        self.assertRegex(err, r"python: learnt 3 modules for the next run: (\S+)\n")
        path = self.preloads()
        self.assertEqual(report["preloads_file"], str(path))
        lines = self.listed()
        # In order, by package; not what one of two imported, and nothing of the suite itself.
        self.assertEqual(lines, ["light", "heavy: part"])
        code, _, err, report = self.rpool_run("--", "sh", "-c", both)
        self.assertEqual((code, report["forked"], report["preloads"], report["learnt"]), (0, 2, 3, 0), err)
        self.assertIn("with heavy, light and 1 more", err)
        self.assertGreater(report["import_ms"], 45)
        self.assertGreater(report["private_bytes"], 4 << 20)
        # Two were spared what the server, which was started for this run, took once.
        self.assertAlmostEqual(report["saved_ms"], 2 * report["import_ms"] - report["servers_ms"], delta=5)
        code, _, err, report = self.rpool_run("--", "sh", "-c", both)
        self.assertEqual((report["servers"], report["servers_ms"]), (1, 0), err)
        self.assertAlmostEqual(report["saved_ms"], 2 * report["import_ms"], delta=5)
        self.assertRegex(err, r"python: saved 0\.\d s of imports .*one plain process, measured: 0\.\d s, \d+\.\d MiB")

    def test_bytes_are_saved_by_those_that_run_at_once(self):
        self.library("heavy", HEAVY)
        script = self.script("import heavy, os, sys\nopen(sys.argv[1], 'w').close()\n"
                             "while not os.path.exists('go'): pass\n")
        many = (f"for i in 1 2 3; do {self.python} {script} ready$i & done;"
                "while ! test -e ready1 -a -e ready2 -a -e ready3; do sleep 0.05; done; sleep 1; touch go; wait")
        code, _, err, report = self.rpool_run("--preload", "heavy", "--", "sh", "-c", many)
        self.assertEqual((code, report["forked"]), (0, 3), err)
        self.assertEqual(report["saved_bytes"], 2 * report["private_bytes"], err)
        self.assertIn(" and ", next(line for line in err.splitlines() if "of imports" in line))

    def test_people_edit_the_file(self):
        self.library("heavy")
        self.library("heavy.part")
        self.library("heavy.other")
        self.library("light")
        script = self.script("import light, heavy.part, heavy.other\n")
        self.rpool_run("--", self.python, script)
        path = self.preloads()
        mine = "# mine\nlight  # stays\n-heavy.other\n- light.none\n\nheavy: part other\n-json"  # no newline at its end
        path.write_text(mine)
        for _ in range(2):
            code, _, err, report = self.rpool_run("--", self.python, script)
            self.assertEqual((code, report["preloads"], report["learnt"]), (0, 3, 0), err)
            self.assertEqual(path.read_text(), mine)
        self.script("import light, heavy.part, heavy.other, more\n")
        self.library("more")
        self.rpool_run("--", self.python, script)
        self.assertEqual(path.read_text(), mine + "\nmore\n")
        path.write_bytes(b"\xff\xfe\n" + b"x" * 5000 + b"\n:\n-\nheavy: \nlight\0dark\n" + mine.encode())
        code, _, err, report = self.rpool_run("--", self.python, script)
        self.assertEqual((code, report["forked"] + report["plain"]), (0, 1), err)

    def test_what_is_refused_is_kept_out_with_the_reason(self):
        self.library("talks", "print('hello from talks')")
        self.library("light")
        script = self.script("import light, talks\n")
        self.rpool_run("--", self.python, script)
        code, _, err, report = self.rpool_run("--", self.python, script)
        self.assertEqual((code, list(report["refused"])), (0, ["talks"]), err)
        self.assertIn("python: not loaded before forking: talks: ", err)
        lines = self.preloads().read_text().splitlines()
        self.assertTrue(any(line.startswith("-talks  # refused: ") for line in lines), lines)
        code, out, err, report = self.rpool_run("--", self.python, script)
        self.assertEqual((out, report["refused"], report["preloads"]), ("hello from talks\n", {}, 1), err)
        self.assertNotIn("not loaded", err)

    def test_what_another_environment_lacks_is_not_kept_out(self):
        names = [f"light{number}" for number in range(20)]  # more than a keeper would start servers for
        for name in names:
            self.library(name)
        self.library("common")
        script = self.script(f"import common, {', '.join(names)}\n")
        self.rpool_run("--", self.python, script)
        before = self.preloads().read_text()
        for name in names:
            shutil.rmtree(os.path.join(self.site, name))
        self.script("import common\n")
        code, _, err, report = self.rpool_run("--", self.python, script)
        self.assertEqual((code, report["preloads"], len(report["refused"])), (0, 1, 20), err)
        self.assertIn("not loaded before forking: 12 more", err)
        self.assertEqual(self.preloads().read_text(), before)

    def test_preload_and_a_list_of_ones_own_teach_nothing(self):
        self.library("heavy")
        self.library("light")
        script = self.script("import light, heavy\n")
        code, _, err, report = self.rpool_run("--preload", "heavy,light", "--", self.python, script)
        self.assertEqual((code, report["preloads"], report["preloads_file"], report["learnt"]), (0, 2, None, 0), err)
        self.assertIn("with heavy, light\n", err)
        own = pathlib.Path(self.work, "own.txt")
        own.write_text("heavy\n")
        env = {**self.env, "RESOURCE_POOL_PYTHON_PRELOADS": str(own)}
        code, _, err, report = self.rpool_run("--", self.python, script, env=env)
        self.assertEqual((code, report["preloads"], report["preloads_file"]), (0, 1, str(own)), err)
        self.assertEqual(own.read_text(), "heavy\n")
        self.assertIsNone(self.preloads())

    def test_where_nothing_may_be_kept_nothing_is(self):
        self.library("light")
        script = self.script("import light\n")
        for env in ({"RESOURCE_POOL_RUNS": "off"}, {"RESOURCE_POOL_RUNS": "/proc/none/runs.json"}):
            code, _, err, report = self.rpool_run("--", self.python, script, env={**self.env, **env})
            self.assertEqual((code, report["forked"], report["learnt"]), (0, 1, 0), err)
            self.assertNotIn("learnt", err)

    def test_runs_at_once_learn_together(self):
        for number in range(6):
            self.library(f"light{number}")
            self.script(f"import light{number}\n", f"script{number}.py")
        started = [subprocess.Popen([RPOOL, "run", "--", "sh", "-c", f"{self.python} script{number}.py"], env=self.env,
                                    cwd=self.work, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                    stderr=subprocess.DEVNULL) for number in range(6)]
        self.started.extend(started)
        for process in started:
            self.assertEqual(process.wait(PATIENCE), 0)
        self.assertEqual(sorted(self.listed()), [f"light{number}" for number in range(6)])

    def test_rubbish_among_the_events_is_passed_over(self):
        lines = ["", "\t", "plain", "plain\t", "forked\t1", "forked\tx\ty", "forked\t-1\t2\t3\t4\t5\t6", "imported\tx",
                 "imported\t\t", "server\t", "refused\tx", "unknown\t1\t2", "x" * 100000, "\udcff\udcfe\t\udcff",
                 "imported\tgroup\t" + ",".join(["a" * 600, "\udcff", "light", "", "..", "x:y", "a b"])]
        text = "import os\nos.write(os.open(os.environ['RESOURCE_POOL_PYTHON_EVENTS'], os.O_WRONLY | os.O_APPEND), " \
               f"os.fsencode({chr(10).join(lines) + chr(10)!r}))\n"
        code, _, err, report = self.rpool_run("--", self.python, self.script(text))
        self.assertEqual(code, 0, err)
        self.assertEqual(report["forked"], 1, err)
        # Names that no import statement could have are not written down.
        self.assertEqual(self.listed(), ["light"])


class Status(Run):
    def test_status_shows_what_is_loaded_and_the_ledger_has_it(self):
        self.library("heavy", HEAVY)
        self.library("talks", "print('hello from talks')")
        code, _, err, _ = self.rpool_run("--preload", "heavy,talks", "--", self.python, "-c", "1")
        self.assertEqual(code, 0, err)

        def shown():
            found = [row for row in self.fork_servers()
                     if row["state"] == "ready" and row["preloads"] and row["forked"] == 1 and row["children"] == 0]
            return found[0] if found else None
        row = until(shown, "a fork server in the status")
        self.assertEqual([each["name"] for each in row["preloads"]], ["heavy"])
        self.assertEqual([each["name"] for each in row["refused"]], ["talks"])
        self.assertGreater(row["memory_bytes"], 8 << 20)
        text = subprocess.run([RPOOL, "status"], env=self.env, capture_output=True, text=True, check=True).stdout
        self.assertRegex(text, r"(?m)^device   cpu: 0 B held, .* by fork servers")
        self.assertRegex(text, rf"(?m)^forks    \S+: ready, process {row['server_pid']}, \S+ MiB, 1 forked so far, 0 run")
        self.assertRegex(text, r"(?m)^  loaded 1 module in \S+ ms: heavy \S+ ms, \S+ MiB$")
        self.assertRegex(text, r"(?m)^  not loaded: talks: ")
        table = subprocess.run([RPOOL, "top", "--once"], env=self.env, capture_output=True, text=True, check=True,
                               stdin=subprocess.DEVNULL).stdout
        self.assertRegex(table, rf"(?m)^ *{row['server_pid']} .* 1 +1 +0 ready$")
        self.assertIn("fork servers", table)

    def test_a_broker_that_stops_takes_idle_servers_with_it(self):
        code, out, err, _ = self.rpool_run("--", self.python, "-c", "import os; print(os.getppid())")
        self.assertEqual(code, 0, err)
        until(self.fork_servers, "a fork server in the status")
        done = subprocess.run([RPOOL, "stop"], env=self.env, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        until(lambda: state_of(int(out)) == "", "the end of the server")


if __name__ == "__main__":
    unittest.main()
