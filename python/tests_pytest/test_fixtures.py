# SPDX-License-Identifier: Apache-2.0
"""Fixtures, leases and their scopes, and what leaves no trace."""

import pathlib
import re
import tomllib

from conftest import ROOT

LEASES = """
import pytest
import resource_pool
from resource_pool import _core

def leased():
    return sorted(key for _, key in _core._leases())
"""


def test_the_fixture_is_the_pool_of_the_process(pytester, run):
    pytester.makepyfile("""
        import resource_pool as package
        def test_it(resource_pool):
            assert resource_pool is package.get_global_resource_pool()
    """)
    run().assert_outcomes(passed=1)


def test_a_model_is_leased_until_the_test_ends(pytester, run):
    pytester.makepyfile(LEASES + """
def test_first(model):
    first = model("embedding", "bert", constructor=list)
    assert model("embedding", "bert") is first
    assert leased() == ["embedding:bert@cpu"] * 2

def test_second(model):
    assert leased() == []
    assert isinstance(model("embedding", "bert", list, {"device": "cpu"}), list)
    assert model.tokenizer("embedding", "bert", constructor=dict) == {}
    assert model.resource("words", constructor=set) == set()
    assert model.resource("words", "more", tuple) == ()
    assert len(leased()) == 4
    assert model.pool is resource_pool.get_global_resource_pool()

def test_third():
    assert leased() == []
""")
    done = run()
    done.assert_outcomes(passed=3)
    done.stdout.no_fnmatch_line("*not given back*")


def test_wider_scopes_keep_their_leases(pytester, run):
    pytester.makepyfile(test_a=LEASES + """
@pytest.fixture(scope="module")
def bert(model_module):
    return model_module("embedding", "bert", constructor=list)

class TestA:
    def test_1(self, model_class):
        model_class("embedding", "of class", list)
        assert leased() == ["embedding:of class@cpu"]
    def test_2(self, bert, model_session):
        model_session("embedding", "of session", list)
        assert leased() == ["embedding:bert@cpu", "embedding:of class@cpu", "embedding:of session@cpu"]

def test_after_the_class(bert):
    assert leased() == ["embedding:bert@cpu", "embedding:of session@cpu"]
""", test_b=LEASES + """
def test_after_the_module():
    assert leased() == ["embedding:of session@cpu"]
""")
    done = run()
    done.assert_outcomes(passed=4)
    done.stdout.no_fnmatch_line("*not given back*")


def test_what_a_model_raises_is_the_test_s(pytester, run):
    pytester.makepyfile("""
        def test_it(model):
            model("embedding", "bert", constructor=lambda: {}["x"])
        def test_leases_taken_before_are_given_back(model):
            model("embedding", "other", list)
            assert False
        def test_after():
            from resource_pool import _core
            assert _core._leases() == []
    """)
    done = run()
    done.assert_outcomes(failed=2, passed=1)
    done.stdout.fnmatch_lines(["*KeyError: 'x'*"])
    done.stdout.no_fnmatch_line("*not given back*")


def test_unittest_classes_subtests_and_doctests(pytester, run):
    pytester.makepyfile(test_u="""
        import unittest
        import pytest
        from resource_pool import _core, get_global_resource_pool

        class Case(unittest.TestCase):
            @classmethod
            def setUpClass(cls):
                cls.lease = get_global_resource_pool().lease_model("embedding", "of class", list)
            @classmethod
            def tearDownClass(cls):
                cls.lease.release()
            @pytest.fixture(autouse=True)
            def _model(self, model):
                self.model = model("embedding", "bert", list)
            def test_a(self):
                self.assertEqual(self.model, [])
                for i in range(3):
                    with self.subTest(i=i):
                        self.assertEqual(len(_core._leases()), 2)
            def test_b(self):
                self.left = get_global_resource_pool().lease_model("embedding", "left", list)
                type(self).kept = self.left

        def test_subtests(subtests, model):
            for i in range(2):
                with subtests.test(i=i):
                    assert model("embedding", "bert") == []
    """, doc='''
        """
        >>> model = getfixture("model")
        >>> model("embedding", "bert", list)
        []
        """
    ''')
    done = run("--doctest-modules", "-v")
    assert done.ret == 0
    done.stdout.fnmatch_lines(["*leases that were not given back:*", "  test_u.py::Case::test_b: embedding:left@cpu"])
    assert "of class@cpu" not in done.stdout.str()


def test_leases_that_stay_are_named_with_their_test(pytester, run):
    pytester.makepyfile("""
        import pytest
        kept = []

        @pytest.fixture(scope="module")
        def tidy(resource_pool):
            with resource_pool.lease_model("embedding", "tidy", list) as model:
                yield model

        @pytest.fixture(scope="module")
        def untidy(resource_pool):
            kept.append(resource_pool.lease_model("embedding", "untidy", list))

        def test_fine(tidy, untidy):
            pass

        def test_dropped(resource_pool):
            resource_pool.lease_model("embedding", "dropped", list)
            lease = resource_pool.lease_model("embedding", "local", list)

        def test_garbage(resource_pool):
            class Circle: pass
            circle = Circle()
            circle.me = circle
            circle.lease = resource_pool.lease_model("embedding", "garbage", list)

        @pytest.mark.parametrize("i", range(2))
        def test_keeps(resource_pool, i):
            for _ in range(2):
                kept.append(resource_pool.lease_model("embedding", "kept", list))
    """)
    done = run()
    done.assert_outcomes(passed=5)
    text = done.stdout.str()
    at = text.index("leases that were not given back:")
    lines = text[at:].splitlines()[1:4]
    assert sorted(lines) == [
        "  fixture 'untidy' (module), after test_leases_that_stay_are_named_with_their_test.py::test_keeps[1]: "
        "embedding:untidy@cpu",
        "  test_leases_that_stay_are_named_with_their_test.py::test_keeps[0]: embedding:kept@cpu, 2 times",
        "  test_leases_that_stay_are_named_with_their_test.py::test_keeps[1]: embedding:kept@cpu, 2 times",
    ]
    for word in (":tidy@cpu", ":dropped", ":local", ":garbage"):
        assert word not in text[at:]


def test_no_pool_is_opened_and_nothing_is_imported_before_a_test_asks(pytester, run):
    pytester.makepyfile("""
        import sys
        import resource_pool
        def test_it():
            assert resource_pool._pool is None
            assert not {"torch", "numpy", "asyncio", "resource_pool.pytest_admission"} & set(sys.modules)
    """)
    done = run(PYTEST_DISABLE_PLUGIN_AUTOLOAD=1, PYTEST_PLUGINS="resource_pool.pytest_plugin")  # others import asyncio
    done.assert_outcomes(passed=1)
    done.stdout.no_fnmatch_line("*= resource pool =*")


def test_it_can_be_left_out_without_a_trace(pytester, run):
    pytester.makepyfile("""
        import sys
        import pytest
        def test_nothing_is_imported():
            assert not [name for name in sys.modules if name.startswith("resource_pool")]
        def test_no_fixture(model):
            pass
        @pytest.mark.resources("cuda")
        def test_no_mark():
            pass
    """)
    done = run("-p", "no:resource_pool", "-W", "default")
    done.assert_outcomes(passed=2, errors=1, warnings=1)
    done.stdout.fnmatch_lines(["*fixture 'model' not found*", "*Unknown pytest.mark.resources*"])
    assert run("-p", "no:resource_pool", "--pool-report=x").ret == 4
    assert "resources(" not in run("-p", "no:resource_pool", "--markers").stdout.str()
    workers = run("-p", "no:resource_pool", "-n2", "-W", "default")
    workers.assert_outcomes(passed=2, errors=1, warnings=2)


def test_both_entry_points_are_the_same():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = (ROOT / "python/resource_pool.dist-info/entry_points.txt").read_text()
    assert text == "[pytest11]\nresource_pool = " + project["entry-points"]["pytest11"]["resource_pool"] + "\n"
    name = re.search(r"^Name: (.*)$", (ROOT / "python/resource_pool.dist-info/METADATA.in").read_text(), re.M)[1]
    assert name == project["name"]


def test_a_user_s_own_fixture_of_that_name_goes_first(pytester, run):
    pytester.makepyfile("""
        import pytest
        @pytest.fixture
        def model():
            return "mine"
        def test_it(model):
            assert model == "mine"
    """)
    run().assert_outcomes(passed=1)


def test_every_file_of_the_plugin_is_installed():
    listed = (ROOT / "python/resource_pool/meson.build").read_text()
    for path in pathlib.Path(ROOT / "python/resource_pool").glob("pytest_*.py"):
        assert f"'{path.name}'" in listed
