# SPDX-License-Identifier: Apache-2.0
"""Where it is asked for, this process starts its own interpreter through the fork server's launcher.

subprocess and multiprocessing (spawn, forkserver) give the path of sys.executable to the kernel; here they give that of
the launcher, with arguments that are the same: by the first of them it knows whose place it takes. sys.executable,
Popen.args and what multiprocessing says of its executable stay as they are. os.exec*() and os.posix_spawn() are as
before. Part of the package and of the fork server, so it imports nothing of either.
"""


def fork_children(launcher):
    """From now on; what is given back ends it."""
    import functools
    import multiprocessing.util
    import os
    import subprocess
    import sys

    def is_own(path):
        try:
            return bool(sys.executable) and os.fsdecode(path) == sys.executable
        except TypeError:
            return False

    begin = subprocess.Popen.__init__
    spawn = multiprocessing.util.spawnv_passfds

    @functools.wraps(begin)
    def begin_by_launcher(self, args, bufsize=-1, executable=None, *rest, **options):
        names = ("stdin", "stdout", "stderr", "preexec_fn", "close_fds", "shell", "cwd", "env")
        given = {**dict(zip(names, rest)), **options}
        first = args[0] if isinstance(args, (list, tuple)) and args else args
        # Who makes an environment without the run's variables wants nothing of it.
        is_of_run = given.get("env") is None or "RESOURCE_POOL_PYTHON" in given["env"]
        if executable is None and not given.get("shell") and is_of_run and is_own(first):
            executable = launcher
        begin(self, args, bufsize, executable, *rest, **options)

    @functools.wraps(spawn)
    def spawn_by_launcher(path, args, passfds):
        return spawn(os.fsencode(launcher) if is_own(path) else path, args, passfds)

    subprocess.Popen.__init__ = begin_by_launcher
    multiprocessing.util.spawnv_passfds = spawn_by_launcher

    def undo():
        if subprocess.Popen.__init__ is begin_by_launcher:
            subprocess.Popen.__init__ = begin
        if multiprocessing.util.spawnv_passfds is spawn_by_launcher:
            multiprocessing.util.spawnv_passfds = spawn

    return undo
