"""Callables that route requests and experts."""

from __future__ import annotations

import random
from typing import Any

import numpy
import pytest

import servingsim


def test_round_robin_by_hand(plain: list[dict[str, Any]]) -> None:
    asked: list[tuple[int, int]] = []

    def round_robin(request: servingsim.RoutedRequest, instances: list[servingsim.InstanceLoad]) -> int:
        assert request.arrival_ns == plain[request.id]["arrival_time_ns"]
        assert (request.input_tokens, request.output_tokens) == (
            plain[request.id]["input_toks"],
            plain[request.id]["output_toks"],
        )
        assert [load.instance for load in instances] == [0, 1]
        assert all(load.max_num_seqs == 16 and load.running <= 16 for load in instances)
        asked.append((request.id, sum(load.running + load.waiting for load in instances)))
        return request.id % 2

    ours = servingsim.run(workload=plain, request_routing_policy=round_robin, max_num_seqs=16)
    theirs = servingsim.run(workload=plain, request_routing_policy="RR", max_num_seqs=16)
    assert ours.to_json() == theirs.to_json()
    assert [request for request, _ in asked] == list(range(200))
    assert asked[0][1] == 0 and asked[-1][1] > 16


def test_loads_are_those_that_requests_find(plain: list[dict[str, Any]]) -> None:
    class LeastLoaded:
        def __init__(self) -> None:
            self.next = 0

        def __call__(self, _: servingsim.RoutedRequest, instances: list[servingsim.InstanceLoad]) -> numpy.int64:
            order = [(self.next + step) % len(instances) for step in range(len(instances))]
            chosen = min(order, key=lambda i: (4 * instances[i].waiting + instances[i].running) / 8)
            self.next = (chosen + 1) % len(instances)
            return numpy.int64(chosen)

    options: Any = {"max_num_seqs": 8, "workload": plain}
    ours = servingsim.run(request_routing_policy=LeastLoaded(), **options)
    assert ours.to_json() == servingsim.run(request_routing_policy="LOAD", **options).to_json()


def first_experts(block: servingsim.ExpertBlock) -> Any:
    return [block.tokens if expert < block.experts_per_token else 0 for expert in range(block.num_experts)]


def test_the_first_experts_by_hand(plain: list[dict[str, Any]]) -> None:
    expected = servingsim.run(workload=plain, expert_routing_policy="RR").to_json()
    seen = set()

    def counts(block: servingsim.ExpertBlock) -> Any:
        seen.add((block.instance, block.layer, block.num_experts, block.experts_per_token, block.num_ranks))
        return numpy.array(first_experts(block))

    assert servingsim.run(workload=plain, expert_routing_policy=first_experts).to_json() == expected
    assert servingsim.run(workload=plain, expert_routing_policy=counts).to_json() == expected
    assert seen == {(instance, 0, 128, 8, 2) for instance in (0, 1)}

    def choices(block: servingsim.ExpertBlock) -> Any:
        return [list(range(block.experts_per_token))] * block.tokens

    assert servingsim.run(workload=plain, expert_routing_policy=choices).to_json() == expected
    arrays = servingsim.run(workload=plain, expert_routing_policy=lambda block: numpy.array(choices(block)))
    assert arrays.to_json() == expected


def test_experts_of_every_block(plain: list[dict[str, Any]]) -> None:
    layers = set()

    def counts(block: servingsim.ExpertBlock) -> Any:
        layers.add(block.layer)
        return first_experts(block)

    options: Any = {"workload": plain[:5], "enable_block_copy": False}
    ours = servingsim.run(expert_routing_policy=counts, **options).to_json()
    assert ours == servingsim.run(expert_routing_policy="RR", **options).to_json()
    assert layers == set(range(48))


def test_drawn_choices_come_near_to_uniform(plain: list[dict[str, Any]]) -> None:
    dice = random.Random(5)

    def drawn(block: servingsim.ExpertBlock) -> list[list[int]]:
        return [dice.sample(range(block.num_experts), block.experts_per_token) for _ in range(block.tokens)]

    ours = servingsim.run(workload=plain, expert_routing_policy=drawn).summary.makespan_s
    theirs = servingsim.run(workload=plain, expert_routing_policy="UNIFORM").summary.makespan_s
    assert ours == pytest.approx(theirs, rel=0.02) and ours != theirs


class Mine(Exception):
    pass


def raising(*_: object) -> Any:
    raise Mine("no idea")


@pytest.mark.parametrize("policy", ["request_routing_policy", "expert_routing_policy"])
@pytest.mark.parametrize("engine", ["reference", "vllm"])
def test_what_is_raised_comes_out(policy: str, engine: str, tmp_path: Any) -> None:
    options: Any = {policy: raising, "engine": engine, "output": tmp_path / "out.csv"}
    with pytest.raises(Mine, match="no idea") as caught:
        servingsim.run(**options)
    assert "raising" in [frame.name for frame in caught.traceback]
    assert list(tmp_path.iterdir()) == []


def test_raised_in_the_middle(plain: list[dict[str, Any]]) -> None:
    asked = []

    def at_the_hundredth(request: servingsim.RoutedRequest, _: object) -> int:
        asked.append(request.id)
        if request.id == 100:
            raise KeyboardInterrupt
        return 0

    with pytest.raises(KeyboardInterrupt):
        servingsim.run(workload=plain, request_routing_policy=at_the_hundredth)
    assert asked == list(range(101))


@pytest.mark.parametrize(
    ("answer", "error", "told"),
    [
        (2, servingsim.RoutingError, "returned 2, and there are 2 instances"),
        (-1, servingsim.RoutingError, "returned -1, and there are 2 instances"),
        ("0", TypeError, "returns the index of an instance, not '0'"),
        (None, TypeError, "returns the index of an instance, not None"),
        (0.0, TypeError, "not 0.0"),
    ],
)
def test_routes_that_can_not_be(answer: Any, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        servingsim.run(request_routing_policy=lambda request, instances: answer)


@pytest.mark.parametrize(
    ("answer", "error", "told"),
    [
        (lambda b: [1] * 127, servingsim.RoutingError, "expected a count for each of 128 experts, found 127"),
        (lambda b: [0] * 128, servingsim.RoutingError, "expected counts that add up to"),
        (lambda b: [b.tokens + 1] + [0] * 127, servingsim.RoutingError, "expert 0 gets"),
        (lambda b: [[0] * 8] * b.tokens, servingsim.RoutingError, "token 0 takes expert 0 twice"),
        (lambda b: [list(range(7))] * b.tokens, servingsim.RoutingError, "token 0 takes 7 experts instead of 8"),
        (lambda b: [list(range(121, 129))] * b.tokens, servingsim.RoutingError, "expert 128, and there are 128"),
        (lambda b: [0.5] * 128, TypeError, "whole numbers from 0"),
        (lambda b: [-1] * 128, TypeError, "whole numbers from 0"),
        (lambda b: None, TypeError, "not None"),
    ],
)
def test_experts_that_can_not_be(answer: Any, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told) as caught:
        servingsim.run(expert_routing_policy=answer)
    if error is servingsim.RoutingError:
        assert "experts of layer 0" in str(caught.value)


def test_experts_of_a_dense_model() -> None:
    with pytest.raises(servingsim.InputError, match="no instance serves a mixture-of-experts model"):
        servingsim.run(example="dense", expert_routing_policy=first_experts)


def test_a_callable_and_a_file(tmp_path: Any) -> None:
    with pytest.raises(servingsim.InputError, match="a file of recorded routes is given too"):
        servingsim.run(request_routing_policy=lambda *_: 0, request_routing_file=tmp_path / "routes.csv")


def test_what_policies_see_is_shown() -> None:
    seen: list[object] = []

    def see(request: servingsim.RoutedRequest, instances: list[servingsim.InstanceLoad]) -> int:
        seen.extend([request, instances[0]])
        return 0

    servingsim.run(workload=[servingsim.Request(10, 5)], request_routing_policy=see)
    assert list(map(repr, seen)) == [
        "RoutedRequest(id=0, arrival_ns=0, input_tokens=10, output_tokens=5)",
        "InstanceLoad(instance=0, running=0, waiting=0, max_num_seqs=128)",
    ]
