#!/usr/bin/env python3
"""Exact concurrency, as the backend counts it: pool, function and tenant caps at the same time."""
import concurrent.futures
import hashlib

from harness import FULL, SLOW, load, main, scene, test

KEYS = {"gold": "key-of-gold", "silver": "key-of-silver"}


def tenants():
    return [{"name": n, "key-sha256": hashlib.sha256(k.encode()).hexdigest()} for n, k in KEYS.items()]


def exact(limit, service_ms, rounds):
    """Three loads at once; two are capped below the pool and end first, the third keeps it full."""
    function_cap, tenant_cap = max(1, limit // 8), max(1, limit // 6)
    policies = [
        {"policy": "slow-few", "match": {"function": "few"}, "cap": {"seats": function_cap}},
        {"policy": "each", "match": {"tenant": "silver"}, "cap": {"seats": tenant_cap, "per": "tenant"}},
    ]
    query = f"delay={service_ms}&jitter={service_ms // 4}"
    with scene({"workers": {"threads": 2, "seats": limit}, "tenants": tenants()}, policies) as (d, m):
        u = f"http://127.0.0.1:{d.port}/function"
        loads = [(3 * function_cap, function_cap * rounds // 2, f"{u}/few?t=gold&{query}", "gold"),
                 (3 * tenant_cap, tenant_cap * rounds // 2, f"{u}/many?t=silver&{query}", "silver"),
                 (2 * limit + 24, limit * rounds + 2 * limit + 24, f"{u}/many?t=gold&{query}", "gold")]
        with concurrent.futures.ThreadPoolExecutor() as pool:
            results = list(pool.map(lambda l: load("-c", l[0], "-n", l[1], "-H", f"X-Api-Key: {KEYS[l[3]]}",
                                                   "-u", l[2]), loads))
        for r in results:
            assert r["ok"] == r["calls"] > 0, f"not all calls were answered: {r}"
        s = m.stats()
        few, silver = s["by_function"]["few"]["peak"], s["by_tenant"]["silver"]["peak"]
        assert s["peak"] == limit, f"pool: peak {s['peak']}, limit {limit}"
        assert few == function_cap, f"function: peak {few}, cap {function_cap}"
        assert silver == tenant_cap, f"tenant: peak {silver}, cap {tenant_cap}"
        assert s["total"] == sum(l[1] for l in loads) and s["inflight"] == 0, s
        share = m.get(f"/_mock/mean?limit={limit}")["share"]
        least = 0.98 if SLOW == 1 else 0.5
        assert share >= least, f"mean in use is {share:.4f} of the limit, wanted {least}"
        assert d.quiet()
        return (f"limit {limit}: peak {s['peak']}, function {few}/{function_cap}, "
                f"tenant {silver}/{tenant_cap}, mean in use {100 * share:.2f} % over {s['total']} calls")


@test
def limit_1():
    return exact(1, 200, 100 if FULL else 12)


@test
def limit_7():
    return exact(7, 200, 100 if FULL else 16)


@test
def limit_64():
    return exact(64, 200, 100 if FULL else 16)


@test
def limit_999():
    return exact(999, 1000, 20 if FULL else 5)


main()
