# SPDX-License-Identifier: Apache-2.0
"""The type stubs and the live module say the same: every name, parameter and default is in both."""

import ast
import importlib
import inspect
import os
import pathlib
import subprocess
import sys
import unittest

import resource_pool
from resource_pool import _core

SPECIAL = ("__enter__", "__exit__", "__call__", "__class_getitem__", "__dlpack__", "__dlpack_device__")
PACKAGE = pathlib.Path(resource_pool.__file__).parent


def stub(name):
    path = PACKAGE / name
    if not path.exists():
        raise unittest.SkipTest(f"{name} is not beside the package")
    return ast.parse(path.read_text(encoding="utf-8"))


def is_of_the_checker(name):
    """Type variables and helpers of the stub: private, and in no live module."""
    return name.startswith("_") and not name.startswith("__") and not hasattr(_core, name)


def functions(body):
    """{name: [its definitions]}; overloads are several."""
    found = {}
    for each in body:
        if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef)):
            found.setdefault(each.name, []).append(each)
    return found


def parameters(function):
    """[(name, whether by name only, default as text or None)] of a definition in a stub, without self and cls."""
    given = function.args
    plain = given.posonlyargs + given.args
    defaults = [None] * (len(plain) - len(given.defaults)) + given.defaults
    found = [(each.arg, False, default and ast.unparse(default)) for each, default in zip(plain, defaults)]
    found += [(each.arg, True, default and ast.unparse(default))
              for each, default in zip(given.kwonlyargs, given.kw_defaults)]
    return [each for each in found if each[0] not in ("self", "cls")]


def live_parameters(function):
    found = []
    for each in inspect.signature(function).parameters.values():
        default = None if each.default is each.empty else repr(each.default)
        found.append((each.name, each.kind is each.KEYWORD_ONLY, default))
    return [each for each in found if each[0] not in ("self", "cls")]


class Stubs(unittest.TestCase):
    maxDiff = None

    def compare_signature(self, name, definitions, live):
        try:
            expected = live_parameters(live)
        except ValueError:
            return  # __exit__ and its kin have no text of a signature
        for definition in definitions:
            self.assertEqual([each[0] for each in parameters(definition)], [each[0] for each in expected], name)
        last = parameters(definitions[-1])  # of overloads the last one takes what all of them take
        self.assertEqual(last, expected, name)

    def test_names_of_the_extension(self):
        tree = stub("_core.pyi")
        told = {each.name for each in tree.body if isinstance(each, (ast.ClassDef, ast.FunctionDef))}
        told |= {each.target.id for each in tree.body if isinstance(each, ast.AnnAssign)}
        live = {name for name in vars(_core) if name == "__version__" or not name.startswith("__")}
        self.assertEqual({name for name in told if not is_of_the_checker(name)}, live)

    def test_functions_of_the_extension(self):
        for name, definitions in functions(stub("_core.pyi").body).items():
            self.compare_signature(name, definitions, getattr(_core, name))

    def test_exceptions_have_the_same_bases(self):
        for each in stub("_core.pyi").body:
            live = getattr(_core, each.name, None) if isinstance(each, ast.ClassDef) else None
            if isinstance(live, type) and issubclass(live, BaseException):
                told = [ast.unparse(base).rpartition(".")[2] for base in each.bases]
                self.assertEqual(told, [base.__name__ for base in live.__bases__], each.name)

    def test_methods_and_attributes_of_the_classes(self):
        for each in stub("_core.pyi").body:
            live = getattr(_core, each.name, None) if isinstance(each, ast.ClassDef) else None
            if not isinstance(live, type) or issubclass(live, (BaseException, tuple)):
                continue
            told = functions(each.body)
            names = {name for name in vars(live) if not name.startswith("__") or name in SPECIAL}
            self.assertEqual(set(told) - {"__new__"}, names, each.name)
            for name, definitions in told.items():
                with self.subTest(f"{each.name}.{name}"):
                    is_attribute = any(ast.unparse(mark) == "property" for mark in definitions[0].decorator_list)
                    self.assertEqual(is_attribute, inspect.isdatadescriptor(vars(live)[name]))
                    if name == "__new__":
                        self.compare_signature(each.name, definitions, live)
                    elif not is_attribute and not name.startswith("__"):
                        self.compare_signature(name, definitions, getattr(live, name))

    def test_names_of_the_package(self):
        told = set(functions(stub("__init__.pyi").body)) | {"global_resource_pool"}
        for name in told:
            self.assertTrue(hasattr(resource_pool, name), name)
        live = {name for name, value in vars(resource_pool).items()
                if not name.startswith("_") and getattr(value, "__module__", "") == "resource_pool"
                and not hasattr(_core, name)}
        self.assertLessEqual(live, told)

    def test_everything_public_has_a_docstring(self):
        for name, value in vars(_core).items():
            if name.startswith("_"):
                continue
            self.assertTrue(value.__doc__, name)
            for inner, member in vars(value).items() if isinstance(value, type) else ():
                if not inner.startswith("_"):
                    self.assertTrue(getattr(member, "__doc__", "x"), f"{name}.{inner}")

    def test_the_reference_is_what_the_docstrings_say(self):
        tool = pathlib.Path(__file__).resolve().parents[2] / "tools" / "python-api"
        if not tool.exists():
            self.skipTest("tools/python-api is not beside the tests")
        done = subprocess.run([sys.executable, tool, "--check"], text=True, capture_output=True, timeout=60,
                              check=False, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_the_package_is_marked_as_typed(self):
        self.assertTrue((PACKAGE / "py.typed").exists())

    def test_modules_of_the_guide_have_stubs(self):
        for name in ("hardware_detection", "model_family_classifier", "hardware_model_integration"):
            importlib.import_module(name)
            self.assertTrue((PACKAGE.parent / f"{name}.pyi").exists(), name)


if __name__ == "__main__":
    unittest.main()
