"""Token buckets, for limits on how often something may happen.

    taken = counters.take(request.client_address() or "", 20, 5.0)
    if taken.granted:
        return proceed().sharing(Sharing.ALLOWED)
    return deny(429).header("Retry-After", str(math.ceil(taken.retry_after / 1000)))

Needs `grants = ["counters"]` in the chain, and `import counters;` in the plugin's world. A decision that took a token is
never reused, so take one only where it counts.
"""

from componentize_py_types import Err
from wit_world.imports import counters as service

# What became of one `take`: `granted` (whether a token was there, and was taken), `remaining` (whole tokens left),
# `retry_after` (milliseconds until a token will be there: 0 when one is left), `full_after` (milliseconds until the bucket
# is full again).
Taken = service.Taken


def take(key: str, capacity: int, refill_per_second: float) -> service.Taken:
    """Takes one token from the bucket `key`, which holds at most `capacity` tokens (at least 1), starts full and gains
    `refill_per_second` tokens a second (finite, not negative: anything else traps). The bucket is this plugin's, and is
    shared by all requests of the site.

    Raises `RuntimeError` when the bucket could not be had, for instance because as many as the operator allows are in use.
    Whether that admits or refuses is the policy's decision.
    """
    try:
        return service.take(key, capacity, refill_per_second)
    except Err as error:
        raise RuntimeError(error.value) from error
