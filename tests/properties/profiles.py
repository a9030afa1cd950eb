"""How long the properties are looked for: the same cases at each run in CI, others where more time is to be spent.

``PROPERTIES=long`` looks for them longer, and in other cases each time: a case that fails is printed, and kept in
`.hypothesis`, from where the next run takes it first.
"""

import os

from hypothesis import settings

IS_LONG = os.environ.get("PROPERTIES") == "long"

settings.register_profile("short", derandomize=True, deadline=None, database=None)
settings.register_profile("long", deadline=None, print_blob=True)
settings.load_profile("long" if IS_LONG else "short")
