"""Random numbers come from the host, each time they are asked for.

A plugin's memory is captured when it is built, and once more when it is configured: a generator that was seeded before
would give the same numbers in every decision. (And the runtime seeds it anew before the first call, which nothing that
is captured may do.) So the functions of `random` are those of `random.SystemRandom`, as those of `secrets` are. A decision
that asked one is never reused.
"""

import random

_system = random.SystemRandom()
for _name in random.__all__:
    if callable(getattr(_system, _name, None)):
        setattr(random, _name, getattr(_system, _name))
