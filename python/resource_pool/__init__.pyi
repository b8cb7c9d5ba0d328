# SPDX-License-Identifier: Apache-2.0
from ._core import *
from ._core import ResourcePool
from ._core import __version__ as __version__
from ._place import placer as placer

global_resource_pool: ResourcePool

def get_global_resource_pool() -> ResourcePool: ...
