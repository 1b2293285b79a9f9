"""How many GPUs does a DP+EP deployment need?

A notebook as a script: cells begin with `# %%`, and editors such as VS Code, Spyder and Jupytext open it as one.
"""

# %% [markdown]
# We serve Qwen3-30B-A3B. Attention is data-parallel, and the experts of each layer are spread over all GPUs of the
# group. We look for the smallest group that serves 15 requests a second, with a first token within 500 ms and later ones
# every 50 ms, for 99 of 100 requests.

# %%
import copy
import random
from typing import Any

import servingsim

RATE_PER_S = 15
TTFT_MS, TPOT_MS = 500, 50
sizes = [1, 2, 4, 8]

# %% [markdown]
# ## Clusters
# The built-in example is a group of two GPUs. Others have more members, over which the experts are spread.

# %%
two_gpus = servingsim.examples()["moe-dp-ep"].cluster


def group(num_gpus: int) -> dict[str, Any]:
    """A cluster of one group."""
    cluster = copy.deepcopy(two_gpus)
    [node] = cluster["nodes"]
    member = {**node["instances"][0], "ep_size": num_gpus}
    node["instances"] = [dict(member) for _ in range(num_gpus)]
    node["num_instances"] = num_gpus
    return cluster


# %% [markdown]
# ## Traffic
# Requests arrive at random; prompts and answers have the long tails of chat.


# %%
def traffic(rate_per_s: float, num_requests: int = 600, seed: int = 1) -> list[servingsim.Request]:
    """Poisson arrivals of requests whose lengths are log-normal."""
    dice = random.Random(seed)
    requests, now_s = [], 0.0
    for _ in range(num_requests):
        now_s += dice.expovariate(rate_per_s)
        prompt, answer = dice.lognormvariate(6.3, 0.8), dice.lognormvariate(4.8, 0.6)
        requests.append(servingsim.Request(1 + int(prompt), 1 + int(answer), int(now_s * 1e9)))
    return requests


# %% [markdown]
# ## One run
# With vLLM's engine core, as that is what will serve.


# %%
def serve(num_gpus: int, rate_per_s: float) -> servingsim.Result:
    """A run of one group under so much traffic."""
    return servingsim.run(group(num_gpus), traffic(rate_per_s), engine="vllm")


result = serve(2, RATE_PER_S)
result  # a notebook shows it as a table
print(result)

# %% [markdown]
# ## How much each group takes
# The most requests a second within the limits, by halving.


# %%
def keeps_to_it(num_gpus: int, rate_per_s: float) -> bool:
    """Whether 99 of 100 requests are served within the limits."""
    summary = serve(num_gpus, rate_per_s).summary
    assert summary.ttft is not None and summary.tpot is not None
    return summary.ttft.p99_ms <= TTFT_MS and summary.tpot.p99_ms <= TPOT_MS


def most_per_s(num_gpus: int) -> float:
    """The most requests a second within the limits."""
    low, high = 0.0, 64.0
    while high - low > 0.5:
        rate = (low + high) / 2
        low, high = (rate, high) if keeps_to_it(num_gpus, rate) else (low, rate)
    return low


best = {num_gpus: most_per_s(num_gpus) for num_gpus in sizes}
for num_gpus, rate in best.items():
    print(f"{num_gpus} GPUs: {rate:.1f} requests a second, {rate / num_gpus:.1f} a GPU")

# %% [markdown]
# A second GPU brings more than twice the requests: with the experts spread over both, each reads half the weights. The
# step to eight brings nothing: the links carry 16 GB/s, and the experts' collectives come to be what a step waits for.

# %%
enough = next((num_gpus for num_gpus in sizes if best[num_gpus] >= RATE_PER_S), None)
if enough is None:
    print("no group keeps to it")
else:
    print(f"smallest group that keeps to it: {enough} GPUs")

# %% [markdown]
# ## Where the time goes
# Requests as a table: any library that speaks Arrow takes it, such as `result.requests.to_polars()`. Here are the
# requests that waited longest, with nothing but Python.

# %%
if enough is not None:
    requests = serve(enough, RATE_PER_S).requests
    waits = zip(requests.column("queuing_delay_ns"), requests.column("input_tokens"), requests.column("request"))
    for wait_ns, prompt, request in sorted(waits, reverse=True)[:5]:
        print(f"request {request}: {prompt} tokens of prompt waited {wait_ns / 1e6:.0f} ms")
