# SPDX-License-Identifier: Apache-2.0
"""Makes an interpreter a fork server. Found by the keeper's entry in PYTHONPATH, in the place of a sitecustomize of the user's.

First everything is put back as a plain start has it; then the extension takes the place of the program that the
interpreter is about to read from stdin; then the user's own sitecustomize runs, if there is one.
"""


def _begin():
    import _frozen_importlib
    import _frozen_importlib_external
    import _imp
    import os
    import sys

    here = os.path.dirname(__file__)
    sys.path.remove(here)
    sys.path_importer_cache.pop(here, None)
    sys.modules.pop("sitecustomize", None)
    if "RESOURCE_POOL_FORKSERVER" not in os.environ:
        return  # another interpreter of a child's process, with the sys.path of the first
    _, _, before = os.environ.pop("PYTHONPATH", "").partition(os.pathsep)
    if before:
        os.environ["PYTHONPATH"] = before
    control = int(os.environ.pop("RESOURCE_POOL_FORKSERVER"))

    inside = {"__name__": "_forkserver"}
    files = [os.path.join(here, each) for each in ("sitecustomize.py", "inside.py", "_forkserver.abi3.so")]
    name = files[1]
    with open(name, "rb") as file:
        exec(compile(file.read(), name, "exec"), inside)
    inside["own_files"] = files
    name = files[2]
    loader = _frozen_importlib_external.ExtensionFileLoader("_forkserver", name)
    spec = _frozen_importlib.ModuleSpec("_forkserver", loader, origin=name)
    extension = _imp.create_dynamic(spec)
    _imp.exec_dynamic(extension)
    inside["trial"] = extension.trial
    extension.begin(control, inside)


_begin()
import sitecustomize  # noqa: E402,F401: the user's; without one this raises what site expects
