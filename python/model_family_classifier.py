# SPDX-License-Identifier: Apache-2.0
"""resource_pool.model_family_classifier under the name that the guide imports: the same module, not a copy."""

import sys

from resource_pool import model_family_classifier

sys.modules[__name__] = model_family_classifier
