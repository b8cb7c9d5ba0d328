# SPDX-License-Identifier: Apache-2.0
"""resource_pool.hardware_model_integration under the name that the guide imports: the same module, not a copy."""

import sys

from resource_pool import hardware_model_integration

sys.modules[__name__] = hardware_model_integration
