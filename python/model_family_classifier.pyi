# SPDX-License-Identifier: Apache-2.0
from resource_pool.model_family_classifier import *
