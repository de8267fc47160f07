"""What all tests share: how hypothesis searches."""

from __future__ import annotations

import os

from hypothesis import settings

# No deadline: on a busy machine an example may take any time. The fast loop looks at fewer examples.
settings.register_profile("whole", deadline=None, print_blob=True)
settings.register_profile("fast", deadline=None, print_blob=True, max_examples=20)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "whole"))
