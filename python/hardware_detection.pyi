# SPDX-License-Identifier: Apache-2.0
from resource_pool.hardware_detection import *
