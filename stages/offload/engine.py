"""A model that reads a text by carrying out operations: what each one does, and who carries them out.

`ReadText` does what a single operation says. `decode` asks the planner layer by layer, with the routing of that moment;
`run_threads` carries out a finished list with one thread a resource (the emulator), `run_streams` with CUDA's streams.
"""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stages.lib.nets.moe import Choice, KeyValueCache, MoeLM
from stages.offload.machines import Costs
from stages.offload.operations import (
    ATTEND,
    EVICT,
    GPU_EXPERT,
    LOAD,
    PREFILL,
    RESOURCES,
    Operations,
)
from stages.offload.planner import find_neighbour, new_state, plan_prompt_layer, plan_token_layer
from stages.offload.policies import NEIGHBOUR, Policy
from stages.offload.simulation import Calibration
from stages.offload.store import ExpertStore

HELD_MS = 1.5  # a thread wakes within half a millisecond, unless others take its core
Array = np.ndarray


class ReadText:
    """One text on its way through a model whose experts lie in a store.

    tokens    (prompt + answer,) int64; the tokens of the answer are given (teacher forcing)
    model     all but its experts on the store's device
    logits    (vocabulary,) after each token from the prompt's last on, once `finish` was called
    """

    def __init__(self, model: MoeLM, store: ExpertStore, tokens: Tensor, *, prompt: int) -> None:
        self.model, self.store, self.tokens, self.prompt = model, store, tokens.to(store.device), prompt
        self.cache = KeyValueCache()
        self.logits: list[Tensor] = []
        self.x: Tensor | None = None
        self.turn: tuple[Tensor, Tensor] = (tokens, tokens)
        self.inputs: dict[tuple[int, int], Tensor] = {}
        self.choices: dict[int, Choice] = {}
        self.outputs: dict[int, Tensor] = {}

    def carry_out(self, ops: Operations, row: int) -> None:
        kind, layer, expert = int(ops.kind[row]), int(ops.layer[row]), int(ops.expert[row])
        if kind == ATTEND:
            self.attend(layer, int(ops.token[row]), [int(r) for r in needs_of(ops, row)], ops)
        elif kind == LOAD:
            self.store.load_(layer, expert, int(ops.victim[row]))
        elif kind == EVICT:
            self.store.write_back_(layer, expert)
        else:
            self.run_expert(ops, row, layer, expert, on_gpu=kind == GPU_EXPERT)

    def attend(self, layer: int, token: int, before: Sequence[int], ops: Operations) -> Choice:
        """Add up the layer before, then attention and router of this one."""
        if layer == 0:
            if token != PREFILL:
                self.finish(before, ops)
            start = self.cache.length
            end = self.prompt if token == PREFILL else start + 1
            self.x, self.turn = self.model.embed(self.tokens[None, start:end], start)
        else:
            self.add_up(before, ops)
        assert self.x is not None
        self.x, h = self.model.layers[layer].attend(self.x, self.turn, self.cache, layer)
        self.inputs[token, layer] = h
        # what was foreseen wrongly may still be computed while the next token is on its way
        self.inputs.pop((token - 2, layer), None)
        self.choices[layer] = self.model.layers[layer].moe.route(h)
        return self.choices[layer]

    def add_up(self, before: Sequence[int], ops: Operations) -> None:
        """Put the experts' outputs into the residual stream, in the order of the list: the sum is the same each time."""
        assert self.x is not None
        total = torch.zeros_like(self.x)
        for row in before:
            # the prompt's outputs are weighted already, each token of it by its own share
            share = 1.0 if ops.token[row] == PREFILL else float(ops.share[row])
            total += share * self.outputs.pop(row).to(total.device).view_as(total)
        token, layer = int(ops.token[before[0]]), int(ops.layer[before[0]])
        moe = self.model.layers[layer].moe
        if hasattr(moe, "shared"):
            total += moe.always(self.inputs[token, layer]).view_as(total)
        self.x = self.x + total

    def finish(self, before: Sequence[int], ops: Operations) -> None:
        """The last layer of a token is done: read out what follows it."""
        self.add_up(before, ops)
        assert self.x is not None
        self.logits.append(self.model.read_out(self.x[0, -1]))

    def run_expert(self, ops: Operations, row: int, layer: int, expert: int, *, on_gpu: bool) -> None:
        """The expert's output for one token; for the prompt weighted, and 0 where tokens did not choose it.

        It stays where it was computed: whoever adds it up fetches it, so that each stream owns what it makes.
        """
        token = int(ops.token[row])
        h = self.inputs[token, layer - int(ops.stale[row])]
        device = self.store.device if on_gpu else torch.device("cpu")
        h = h.to(device)
        if token != PREFILL:
            self.outputs[row] = self.store.run(layer, expert, h, on_gpu=on_gpu)
            return
        choice = self.choices[layer]
        rows, rank = (choice.experts.to(device) == expert).nonzero(as_tuple=True)
        out = self.store.run(layer, expert, h[rows], on_gpu=on_gpu)
        weighted = out * choice.shares.to(device)[rows, rank, None]
        self.outputs[row] = torch.zeros_like(h).index_add_(0, rows, weighted.to(h.dtype))


def needs_of(ops: Operations, row: int) -> Array:
    return ops.needs[ops.first[row] : ops.first[row + 1]]


@torch.inference_mode()
def decode(
    read: ReadText, policy: Policy, costs: Costs, calibration: Calibration, resident: Array, ops: Operations
) -> Tensor:
    """Read the text with the policy's own decisions, layer by layer: the routing is that of the moment.

    returns   (answer + 1, vocabulary) logits after the prompt's last token and after each of the answer
    resident  (layers, experts) bool, as the store was filled; ops  empty, with room for all
    """
    layers = read.model.layers
    rules = policy.rules(len(layers))
    answer = len(read.tokens) - read.prompt
    experts, top_k = layers[0].moe.router.out_features, layers[0].moe.top_k
    state = new_state(resident, tokens=answer, top_k=top_k)
    for token in range(PREFILL, answer):
        if token != PREFILL and rules.prefetch == NEIGHBOUR:
            find_neighbour(state, calibration.texts)
        for layer in range(len(layers)):
            planned = int(ops.size[0])
            before = [int(row) for row in state.before[: state.before_n[0]]]
            choice = read.attend(layer, token, before, ops)
            if token == PREFILL:
                counts = torch.bincount(choice.experts.flatten(), minlength=experts)
                plan_prompt_layer(ops, state, rules, costs, layer, counts.cpu().numpy())
            else:
                ahead = torch.zeros(experts)
                if layer + 1 < len(layers):
                    ahead = layers[layer + 1].moe.router(read.inputs[token, layer])[0].float()
                chosen, shares, logits, foreseen = (
                    t.cpu().numpy()
                    for t in (choice.experts[0], choice.shares[0], choice.logits[0].float(), ahead)
                )
                plan_token_layer(
                    ops, state, rules, costs, layer, token, chosen, shares, logits, foreseen
                )  # fmt: skip
            for row in range(planned, int(ops.size[0])):
                if ops.kind[row] != ATTEND:
                    read.carry_out(ops, row)
    read.finish([int(row) for row in state.before[: state.before_n[0]]], ops)
    return torch.stack(read.logits)


@dataclass(frozen=True, kw_only=True)
class Run:
    """How a list was carried out: start and end (rows,) in ms after the first, and how many operations took longer than
    said, or were held up by the system."""

    start_ms: Array
    end_ms: Array
    overruns: int


def run_threads(read: ReadText, ops: Operations, floor_ms: Array) -> Run:
    """One thread a resource takes its operations in their order; each is done, and then waits until its time is up.

    floor_ms  (rows,) what an operation takes at least; one that took longer is counted, and makes the run worthless
              as a measurement of scheduling. So does one that the system started or woke HELD_MS too late.
    """
    n = int(ops.size[0])
    done = [threading.Event() for _ in range(n)]
    ready, start, end, busy = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n)
    failed: list[BaseException] = []

    def work(resource: int) -> None:
        with torch.inference_mode():
            for row in np.flatnonzero(ops.resource[:n] == resource):
                ready[row] = time.perf_counter()
                for other in needs_of(ops, int(row)):
                    done[other].wait()
                    ready[row] = max(ready[row], end[other])
                if failed:
                    done[row].set()
                    continue
                start[row] = time.perf_counter()
                try:
                    read.carry_out(ops, int(row))
                except BaseException as error:
                    failed.append(error)
                busy[row] = time.perf_counter() - start[row]
                left_s = floor_ms[row] / 1e3 - busy[row]
                if left_s > 0:
                    time.sleep(left_s)
                end[row] = time.perf_counter()
                done[row].set()

    threads = [threading.Thread(target=work, args=(r,), daemon=True) for r in range(len(RESOURCES))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    first = start.min()
    held_ms = np.maximum(start - ready, end - start - floor_ms[:n] / 1e3) * 1e3
    return Run(
        start_ms=(start - first) * 1e3,
        end_ms=(end - first) * 1e3,
        overruns=int(((busy * 1e3 > floor_ms[:n]) | (held_ms > HELD_MS)).sum()),
    )


def run_streams(read: ReadText, ops: Operations, *, cpu_threads: int = 2) -> Run:
    """CUDA: computing and copying on streams of their own, experts of the CPU on threads, in the order of the list.

    The host issues; it waits only where the GPU needs what a CPU thread computes. On a device without streams ("cpu")
    everything is carried out at once, in the same order and with the same dependencies: that is how it is tested.
    """
    n = int(ops.size[0])
    device = read.store.device
    cuda = device.type == "cuda"
    streams = [torch.cuda.Stream(device) for _ in RESOURCES] if cuda else []
    events: dict[int, torch.cuda.Event] = {}
    futures: dict[int, Future[None]] = {}
    first = time.perf_counter()
    start, end = np.zeros(n), np.zeros(n)

    def on(resource: int) -> AbstractContextManager[object]:
        return torch.cuda.stream(streams[resource]) if cuda else nullcontext()

    def compute(row: int) -> None:
        with torch.inference_mode(), on(int(ops.resource[row])):
            for other in needs_of(ops, row):
                if other in events:
                    events[other].synchronize()
            start[row] = time.perf_counter()
            read.carry_out(ops, row)
            end[row] = time.perf_counter()

    with ThreadPoolExecutor(cpu_threads) as pool, torch.inference_mode():
        for row in range(n):
            resource = int(ops.resource[row])
            if ops.kind[row] not in (ATTEND, GPU_EXPERT, LOAD, EVICT):
                futures[row] = pool.submit(compute, row)
                continue
            for other in needs_of(ops, row):
                if other in futures:
                    futures[other].result()
                elif cuda:
                    streams[resource].wait_event(events[other])
            with on(resource):
                start[row] = time.perf_counter()
                read.carry_out(ops, row)
                if cuda:
                    events[row] = torch.cuda.Event()
                    events[row].record(streams[resource])
                end[row] = time.perf_counter()
        for future in futures.values():
            future.result()
    if cuda:
        torch.cuda.synchronize(device)
    end[n - 1] = time.perf_counter()
    return Run(start_ms=(start - first) * 1e3, end_ms=(end - first) * 1e3, overruns=0)
