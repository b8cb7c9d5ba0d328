# SPDX-License-Identifier: Apache-2.0
"""Load each model once, however many ask for it."""

from ._core import *  # noqa: F401,F403
from ._core import __version__  # noqa: F401
