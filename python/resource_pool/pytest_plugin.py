# SPDX-License-Identifier: Apache-2.0
"""The pytest plugin: fixtures, the mark `resources`, and a closing section. docs/pytest.md has the rest.

pytest finds it by itself where the package is installed; `-p no:resource_pool` leaves it out. No pool is
opened before a test asks for one, and what is not needed is not imported.
"""

from __future__ import annotations

import os

import pytest

import resource_pool as package

_state_key: pytest.StashKey[State] = pytest.StashKey()

MARK = (
    "resources(*kinds, memory=None, timeout=None): run on a machine that has one of these kinds of device (such as "
    "'cuda', or 'cuda:1'; none: main memory), and wait up to `timeout` seconds for `memory` (bytes, or '8GB') there"
)


class State:
    """What the plugin knows of this process's run."""

    def __init__(self, config: pytest.Config):
        from .pytest_report import Recorder

        worker = getattr(config, "workerinput", None)
        self.config = config
        self.is_worker = worker is not None
        self.recorder = Recorder(worker["workerid"] if worker else "main", (worker or {}).get("resource_pool_record"))
        self.workers = None  # of a controller
        self.admission = None  # once a mark is met
        self.report = None if self.is_worker else config.getoption("pool_report")
        self.trouble = ""
        self.plain_children = None  # what ends that children are forked too

    def begin_child(self) -> None:
        """In a fork that runs one test."""
        self.recorder = self.recorder.of_child()
        self.workers = self.admission = self.report = None

    def admissions(self):
        if self.admission is None:
            from .pytest_admission import Admission

            self.admission = Admission(self.config, self.recorder)
        return self.admission

    def all(self) -> list[dict]:
        """What each process did."""
        found = self.workers.summaries() if self.workers else []
        return [*found, self.recorder.summary()]

    def deaths(self) -> list[dict]:
        return self.workers.deaths() if self.workers else []

    def merged(self) -> dict:
        """The report."""
        from .pytest_forked import forks
        from .pytest_report import merge

        pids = self.workers.pids if self.workers and self.workers.pids else [os.getpid()]
        return merge(self.all(), self.deaths(), forks(pids, bool(self.workers and self.workers.pids)))


# ---- the run -----------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("resource pool")
    group.addoption("--pool-report", metavar="FILE", default=None,
                    help="write what the resource pool did into FILE, as JSON (docs/pytest.md)")
    group.addoption("--pool-plain-workers", action="store_true", default=False,
                    help="under 'rpool run': start xdist's workers plainly, not from a fork server (docs/pytest.md)")
    group.addoption("--pool-isolate", action="store_true", default=False,
                    help="run each test in a fork of its worker (docs/pytest.md)")
    group.addoption("--pool-fork-children", action="store_true", default=False,
                    help="under 'rpool run': fork what tests start by multiprocessing, or by subprocess with "
                         "sys.executable, from the fork server too (docs/pytest.md)")
    parser.addini("pool_isolate", type="bool", default=False, help="as --pool-isolate")
    parser.addini("pool_fork_children", type="bool", default=False, help="as --pool-fork-children")
    parser.addini("pool_timeout", default="600",
                  help="seconds that a test with the mark 'resources' waits for room, where the mark does not say it")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARK)
    try:
        is_time = 0 <= float(config.getini("pool_timeout")) < float("inf")
    except ValueError:
        is_time = False
    if not is_time:
        raise pytest.UsageError(f"pool_timeout: '{config.getini('pool_timeout')}' is no number of seconds")
    state = config.stash[_state_key] = State(config)
    if state.report:
        state.report = os.path.join(config.invocation_params.dir, os.path.expanduser(state.report))
        folder = os.path.dirname(state.report)
        if os.path.isdir(state.report) or not os.path.isdir(folder):
            raise pytest.UsageError(f"--pool-report: '{state.report}' cannot be written: " + (
                "it is a folder" if os.path.isdir(state.report) else f"there is no folder '{folder}'"))
    if not state.is_worker and config.pluginmanager.hasplugin("xdist"):
        from .pytest_workers import Workers

        state.workers = Workers(config)
        config.pluginmanager.register(state.workers, "resource_pool-workers")
    if config.getoption("pool_isolate") or config.getini("pool_isolate"):
        if not hasattr(os, "fork"):
            raise pytest.UsageError("--pool-isolate: this system has no fork()")
        from .pytest_isolated import Isolation

        config.pluginmanager.register(Isolation(config, state), "resource_pool-isolation")
    if config.getoption("pool_fork_children") or config.getini("pool_fork_children") or os.environ.get(
            "RESOURCE_POOL_PYTHON_CHILDREN") == "1":
        from .pytest_forked import fork_children

        state.plain_children = fork_children()


def pytest_unconfigure(config: pytest.Config) -> None:
    state = config.stash.get(_state_key, None)
    if state is None:
        return
    if state.workers:
        state.workers.close()
        config.pluginmanager.unregister(state.workers)
    state.recorder.close()
    if state.plain_children:
        state.plain_children()
    isolation = config.pluginmanager.getplugin("resource_pool-isolation")
    if isolation:
        config.pluginmanager.unregister(isolation)
    del config.stash[_state_key]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: list) -> None:
    if not config.getoption("pool_plain_workers"):
        from .pytest_forked import fork_workers

        fork_workers(specs)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    state = session.config.stash.get(_state_key, None)
    if state is None:
        return
    if state.admission:
        state.admission.release_all()
    state.recorder.look()
    if state.is_worker:
        session.config.workeroutput["resource_pool"] = state.recorder.summary()
    elif state.report and not session.config.option.collectonly:
        from .pytest_report import write

        try:
            write(state.report, state.merged())
        except OSError as error:
            state.trouble = f"--pool-report: '{state.report}' was not written: {error.strerror or error}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    state = config.stash.get(_state_key, None)
    if state is None:
        return
    if state.trouble:
        terminalreporter.write_line(state.trouble, red=True)
    if terminalreporter.verbosity < 0 or config.getoption("no_summary", False):
        return
    from .pytest_report import section

    lines = section(state.merged(), terminalreporter.verbosity)
    if lines:
        terminalreporter.write_sep("=", "resource pool")
        for line in lines:
            terminalreporter.write_line(line)


# ---- one test ----------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector):
    """A mark that says nothing sensible is an error of the file, or class, that it stands in."""
    report = yield
    nodes = [collector, *(report.result if report.passed else [])]
    if any(mark.name == "resources" for node in nodes for mark in node.own_markers):
        from .pytest_admission import complaints

        said = complaints(nodes)
        if said:
            report.outcome = "failed"
            report.longrepr = said
            report.result = []
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item):
    recorder = item.config.stash[_state_key].recorder
    recorder.begin(item.nodeid)
    try:
        return (yield)
    finally:
        recorder.end()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """After marks that skip, and before any fixture."""
    if next(item.iter_markers("resources"), None) is not None:
        item.config.stash[_state_key].admissions().admit(item)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None):
    state = item.config.stash[_state_key]
    state.recorder.look()  # a tearDown() may clear the pool
    try:
        return (yield)
    finally:
        if state.admission:
            state.admission.release(nextitem)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef, request: pytest.FixtureRequest):
    """What a fixture of a wider scope leases is its own, not the test's that happens to run."""
    if fixturedef.scope == "function":
        return (yield)
    recorder = request.config.stash[_state_key].recorder
    recorder.enter()
    try:
        return (yield)
    finally:
        recorder.leave(fixturedef)


def pytest_fixture_post_finalizer(fixturedef, request: pytest.FixtureRequest) -> None:
    if fixturedef.scope == "function":
        return
    state = request.config.stash.get(_state_key, None)
    if state is not None:
        state.recorder.finalized(fixturedef)


# ---- fixtures ----------------------------------------------------------------------------------


class Loader:
    """What the fixtures `model`, `model_class`, `model_module` and `model_session` give.

    model("embedding", "bert", constructor=load) is the object of pool.lease_model(...), which is leased until the
    fixture's scope ends; model.tokenizer(...) and model.resource(...) likewise.
    """

    def __init__(self, recorder):
        self._leases = []
        self._recorder = recorder

    @property
    def pool(self) -> package.ResourcePool:
        return package.get_global_resource_pool()

    def _keep(self, lease):
        self._recorder.own(lease)
        self._leases.append(lease)
        return lease.object

    def __call__(self, model_type, model_name, constructor=None, hardware_preferences=None, **options):
        return self._keep(self.pool.lease_model(model_type, model_name, constructor, hardware_preferences, **options))

    def tokenizer(self, model_type, model_name, constructor=None, **options):
        return self._keep(self.pool.lease_tokenizer(model_type, model_name, constructor, **options))

    def resource(self, resource_type, resource_id=None, constructor=None, **options):
        return self._keep(self.pool.lease_resource(resource_type, resource_id, constructor, **options))

    def release(self) -> None:
        """Give all leases back, the latest first."""
        while self._leases:
            self._leases.pop().__exit__(None, None, None)


def _loader(request):
    loader = Loader(request.config.stash[_state_key].recorder)
    yield loader
    loader.release()


@pytest.fixture(scope="session")
def resource_pool():
    """The pool of this process: get_global_resource_pool()."""
    return package.get_global_resource_pool()


@pytest.fixture
def model(request):
    """model(type, name, constructor, ...): an object of the pool, leased until the test ends."""
    yield from _loader(request)


@pytest.fixture(scope="class")
def model_class(request):
    """As `model`, leased until the last test of the class ends."""
    yield from _loader(request)


@pytest.fixture(scope="module")
def model_module(request):
    """As `model`, leased until the last test of the module ends."""
    yield from _loader(request)


@pytest.fixture(scope="session")
def model_session(request):
    """As `model`, leased until the run ends."""
    yield from _loader(request)
