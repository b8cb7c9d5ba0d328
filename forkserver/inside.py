# SPDX-License-Identifier: Apache-2.0
"""What a fork server and its children do in Python: called by the extension, and part of no module.

Nothing is imported here that a plain start has not imported already, but when it is needed.
"""

import io
import os
import sys

# Names of modules of a plain start, and those at the time of the freeze.
plain = frozenset()
frozen = frozenset()
names_of_main = ["__main__"]
reads = {}
own_files = ()  # of the server itself
trial = None  # the extension's: call something in a fork


class Environment(dict):
    """The data of os.environ while modules are imported: remembers what they looked for, but for copies of all."""

    copied = ()

    def __iter__(self):
        self.copied = list(super().__iter__())
        return iter(self.copied[:])

    def __getitem__(self, name):
        if self.copied and self.copied[0] == name:
            del self.copied[0]
        else:
            reads.setdefault(name, self.get(name))
        return super().__getitem__(name)


environment = os.environ._data


def open_for_imports():
    """Before the first import."""
    global plain
    plain = frozenset(sys.modules)
    if sys.path and sys.path[0] == "":
        del sys.path[0]
    os.environ._data = Environment(environment)


def load_model(line):
    """A line of a model that is to be there before the first fork: see _inherit.py."""
    import resource_pool._inherit
    return resource_pool._inherit.load(line, trial)


def flush():
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


def module_files(module):
    """The files that a module was made of; none of a built-in one."""
    spec = getattr(module, "__spec__", None)
    for name in {getattr(module, "__file__", None), getattr(spec, "origin", None)}:
        if isinstance(name, str) and os.path.isabs(name):
            yield name


def inventory(began_ns):
    """The lines of wire.h. What changed after the server began is told as stale."""
    lines = []
    known = set(own_files)
    for module in list(sys.modules.values()):
        known.update(module_files(module))
    for name in sorted(known):
        try:
            found = os.stat(name)
        except OSError:
            continue  # a name that never was a file: "<frozen>", a member of a zip
        changed_ns = max(found.st_mtime_ns, found.st_ctime_ns)
        stamp = found.st_mtime_ns if changed_ns < began_ns else 0
        lines.append(f"file\t{name}\t{found.st_size}\t{stamp}")
    for name in sys.path:
        try:
            lines.append(f"folder\t{name}\t{os.stat(name).st_mtime_ns}")
        except OSError:
            lines.append(f"folder\t{name}\t0")
    for name in sorted({name.partition(".")[0] for name in sys.modules} - plain):
        lines.append(f"name\t{name}")
    for name, value in sorted(reads.items()):
        lines.append("env\t" + os.fsdecode(name) + "=" + os.fsdecode(value) if value is not None
                     else "unset\t" + os.fsdecode(name))
    return os.fsencode("\n".join(line for line in lines if "\n" not in line) + "\n")


def forget_finalizers():
    """What weakref.finalize() would end with the process is the server's: no child ends it for the others."""
    weakref = sys.modules.get("weakref")
    for each in list(weakref.finalize._registry) if weakref else ():
        each.atexit = False


def packages_of_plugins():
    """Top-level names of what is installed with plugins for pytest."""
    for folder in sys.path:
        try:
            entries = [each for each in os.listdir(folder or ".") if each.endswith(".dist-info")]
        except OSError:
            continue
        for entry in entries:
            about = os.path.join(folder, entry)
            try:
                with open(os.path.join(about, "entry_points.txt"), encoding="utf-8", errors="replace") as file:
                    if "[pytest11]" not in file.read():
                        continue
                with open(os.path.join(about, "RECORD"), encoding="utf-8", errors="replace") as file:
                    for line in file:
                        yield line.partition(",")[0].partition("/")[0].removesuffix(".py")
            except OSError:
                continue


def excuse_plugins():
    """
    pytest warns of a plugin's package that is loaded before it could rewrite its assertions. A library may have
    loaded one here; this is how a module says that it wants none of that.
    """
    for name in set(packages_of_plugins()):
        module = sys.modules.get(name)
        if module is not None:
            module.__doc__ = (module.__doc__ or "") + "\n\nLoaded before pytest: PYTEST_DONT_REWRITE"


def freeze():
    """All is imported. What is alive now is no business of a child's collector, which would write to its pages."""
    global frozen, names_of_main
    os.environ._data = environment
    is_known = "gc" in sys.modules
    import gc
    forget_finalizers()
    excuse_plugins()
    gc.collect()
    gc.freeze()
    if not is_known:
        del sys.modules["gc"]
    frozen = frozenset(sys.modules)
    # multiprocessing knows it by another name too.
    names_of_main = [name for name, module in sys.modules.items() if module is sys.modules["__main__"]]


def open_stream(name, number, is_unbuffered):
    """A standard stream as the interpreter opens it; the object that was there stays, since libraries keep it."""
    before = getattr(sys, f"__{name}__")
    try:
        os.fstat(number)
    except OSError:
        stream = None
    else:
        mode = "r" if name == "stdin" else "w"
        is_raw = is_unbuffered and name != "stdin"
        buffer = io.open(number, mode + "b", 0 if is_raw else -1, closefd=False)
        raw = buffer if is_raw else buffer.raw
        raw.name = f"<{name}>"
        is_terminal = raw.isatty()
        options = {"newline": "\n", "line_buffering": not is_unbuffered and (is_terminal or name == "stderr"),
                   "write_through": is_unbuffered}
        if before is None:
            stream = io.TextIOWrapper(buffer, streams[name][0], streams[name][1], **options)
        else:
            before.__init__(buffer, before.encoding, before.errors, **options)
            stream = before
        stream.mode = mode
    setattr(sys, name, stream)
    setattr(sys, f"__{name}__", stream)


streams = {name: (stream.encoding, stream.errors)
           for name, stream in (("stdin", sys.stdin), ("stdout", sys.stdout), ("stderr", sys.stderr))
           if stream is not None}


# As PYTHONUNBUFFERED has it, which is the same for all children.
was_unbuffered = sys.stderr is not None and sys.stderr.write_through


def reseed():
    """What a fresh process draws from the system: a child does so again. (random does it by itself.)"""
    mtrand = sys.modules.get("numpy.random.mtrand")
    if mtrand is not None:
        mtrand._rand.seed()
    torch = sys.modules.get("torch")
    if torch is not None and torch.default_generator.initial_seed() >= 1 << 48:
        # Drawn from the system as some versions do; what others begin with, or an import set, is no such number.
        torch.default_generator.seed()
    process = sys.modules.get("multiprocessing.process")
    if process is not None:
        key = process.AuthenticationString(os.urandom(32))
        process._current_process._config["authkey"] = key


def renew_process():
    """What libraries keep of the process that they were loaded in: its start and its main thread's number."""
    threading = sys.modules.get("threading")
    if threading is not None:
        threading.main_thread()._set_native_id()
    logging = sys.modules.get("logging")
    if logging is not None and hasattr(logging, "_startTime"):
        time = logging.time
        logging._startTime = time.time_ns() if isinstance(logging._startTime, int) else time.time()


def become(argv, original, variables, is_unbuffered, ignored):
    """A child's view of itself. Variables and arguments are bytes."""
    is_unbuffered = is_unbuffered or was_unbuffered
    environment.clear()
    for item in variables:
        name, equals, value = item.partition(b"=")
        if equals:
            environment.setdefault(name, value)
    sys.argv = [os.fsdecode(each) for each in argv]
    sys.orig_argv = [os.fsdecode(each) for each in original]
    for name, number in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        open_stream(name, number, is_unbuffered)
    if ignored:
        import _signal
        for number in ignored:
            try:
                _signal.signal(number, _signal.SIG_IGN)
            except (OSError, ValueError):
                pass
    reseed()
    renew_process()
    if environment.get(b"RESOURCE_POOL_PYTHON_CHILDREN") == b"1":
        fork_children()


def fork_children():
    """What the program starts with its own interpreter goes through the launcher as well, as it asks for."""
    launcher = os.fsdecode(environment.get(b"RESOURCE_POOL_PYTHON", b""))
    if not os.path.isabs(launcher) or os.path.basename(launcher) != "rpool-python":
        return
    names = {"__name__": "_children"}
    file_name = os.path.join(os.path.dirname(own_files[0]), "_children.py")
    with open(file_name, "rb") as file:
        exec(compile(file.read(), file_name, "exec"), names)
    names["fork_children"](launcher)


def put_first(name):
    """The folder of the program, where a plain start puts it."""
    if not getattr(sys.flags, "safe_path", False):
        sys.path.insert(0, name)


def absolute_name(name):
    """Of a script. Where the folder is gone it stays as it is."""
    try:
        folder = os.getcwd()
    except OSError:
        return name
    if name == "." and sys.version_info >= (3, 11):
        return folder
    return name if name.startswith("/") else f"{folder}/{name}"


def script_folder(name):
    return os.path.dirname(os.path.realpath(name))


def library_folders():
    """Where packages are installed. The standard library comes along with what uses it."""
    import site
    folders = list(site.getsitepackages())
    if site.ENABLE_USER_SITE:
        folders.append(site.getusersitepackages())
    return tuple(os.path.join(folder, "") for folder in folders)


def is_test(name):
    return any(part in ("test", "tests", "conftest", "__main__") or part.startswith("test_") for part in name.split("."))


def rewritten_by_pytest():
    """Names that pytest makes another module of when it loads them, as it must be able to do."""
    for module in list(sys.modules.values()):
        loader = getattr(getattr(module, "__spec__", None), "loader", None)
        if type(loader).__name__ == "AssertionRewritingHook":
            return set(loader._must_rewrite)
    return set()


def imported():
    """Names of modules from the folders of libraries, in the order in which they came; none of tests."""
    folders = library_folders()
    left_out = rewritten_by_pytest() | {"resource_pool"}
    names = []
    for name, module in list(sys.modules.items()):
        files = list(module_files(module))
        is_library = files and all(file.startswith(folders) for file in files)
        is_left_out = name in plain or any(each == name or name.startswith(each + ".") for each in left_out)
        if is_library and not is_left_out and not is_test(name) and name.isprintable() and "," not in name:
            names.append(name)
    return os.fsencode(",".join(names))


def clear_module(values):
    """As the interpreter clears a module that something keeps alive: private names first."""
    for is_private in (True, False):
        for name in list(values):
            if not isinstance(name, str) or name == "__builtins__":
                continue
            if (name[:1] == "_" and name[:2] != "__") if is_private else name[:1] != "_" or name[:2] == "__":
                values[name] = None


def tear_down(grown):
    """
    End what the child made: its modules, and what they hold, and what it hung on others (`grown`). What the server made stays as it is, since taking it
    apart writes to all its pages, which costs more than the whole child.
    """
    import gc
    import weakref
    modules = []
    for name in [*names_of_main, *(name for name in sys.modules if name not in frozen)]:
        module = sys.modules.pop(name, None)
        try:
            modules.append(weakref.ref(module))
        except TypeError:
            pass
        del module
    gc.collect()
    for reference in reversed(modules):
        module = reference()
        if module is not None and module.__name__ not in ("gc", "weakref"):
            clear_module(module.__dict__)
        del module
    gc.collect()
    for names, count in grown:
        for name in list(names)[count:]:
            names.pop(name, None)
    flush_last()


def flush_last():
    """What was written since, and to files that something in the server still holds; the interpreter tells of no error."""
    import gc
    for each in gc.get_objects():
        if isinstance(each, (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)):
            try:
                each.flush()
            except Exception:
                pass
    for each in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        try:
            each.flush()
        except Exception:
            pass


def dedent(text):
    """Of a program on the command line, since 3.14."""
    if sys.version_info < (3, 14) or text[:1] not in " \t\n":
        return text
    import textwrap
    return textwrap.dedent(text)


def show_lines(code, text):
    """Since 3.13 a traceback shows the lines of a program on the command line."""
    if sys.version_info >= (3, 13):
        import linecache
        linecache._register_code(code if hasattr(linecache, "_interactive_cache") else "<string>", text, "<string>")


def make_main(is_stdin):
    """The names of a new __main__, in the order in which the interpreter makes them."""
    before = sys.modules["__main__"]
    main = type(sys)("__main__")
    for name, value in before.__dict__.items():
        if is_stdin or name not in ("__file__", "__cached__"):
            main.__dict__[name] = {} if name == "__annotations__" else value
    for name in names_of_main:
        sys.modules[name] = main
    return main.__dict__


def forget_module(name):
    """What runs as __main__ was loaded for others; a plain start has not, and would say that it is there twice."""
    parent, _, last = name.rpartition(".")
    module = sys.modules.get(name)
    if parent and name in frozen and module is not None and not hasattr(module, "__path__"):
        del sys.modules[name]
        above = sys.modules.get(parent)
        if above is not None and above.__dict__.get(last) is module:
            delattr(above, last)


def name_script(names, name):
    import _frozen_importlib_external
    names["__file__"] = name
    names["__cached__"] = None
    names["__loader__"] = _frozen_importlib_external.SourceFileLoader("__main__", name)
