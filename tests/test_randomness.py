"""Random code of others, many threads at once: each call draws from its own seed, and nobody else notices."""

import copy
import gc
import pickle
import random
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from random import gauss, getstate, seed as seed_of_python, setstate, shuffle, uniform
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from gpuload.randomness import call_seeded
from gpuload.randomness.generators import thread

SEED, OTHER = 0x9E3779B97F4A7C15, 0xD1B54A32D192ED03
Call = Callable[[], Any]


def seed_globally(seed: int) -> None:
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed([seed & 0xFFFFFFFF, seed >> 32])


def global_states() -> list[Any]:
    kind, words, *rest = np.random.get_state()
    return [torch.get_rng_state().tolist(), random.getstate(), [kind, words.tolist(), *rest]]


def plain(value: Any) -> Any:
    """As lists, bytes and numbers, which compare exactly."""
    match value:
        case torch.Tensor() | np.ndarray():
            return np.asarray(value.detach() if isinstance(value, torch.Tensor) else value).tolist()
        case list() | tuple():
            return [plain(part) for part in value]
        case dict():
            return [plain(part) for part in value.values()]
        case _ if hasattr(value, "tobytes"):
            return value.tobytes()
        case _:
            return value


@pytest.fixture(autouse=True)
def first_call() -> None:
    call_seeded(0, int)


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()
    yield
    torch.set_rng_state(states[0])
    random.setstate(states[1])
    np.random.set_state(states[2])


def check_draws(call: Call, seeds: tuple[int, ...] = (SEED, OTHER)) -> None:
    """Drawn as after seeding globally; by another seed something else; the global generators as they were."""
    results = []
    for seed in seeds:
        seed_globally(seed)
        expected = plain(call())
        seed_globally(3)
        before = global_states()
        results.append(plain(call_seeded(seed, call)))
        assert global_states() == before
        assert results[-1] == expected
    assert len({repr(result) for result in results}) > 1, "it draws nothing"


# ---- torch ----

X, HALF = torch.linspace(-1, 1, 24).reshape(4, 6), torch.full((4, 6), 0.5)
QKV = [torch.linspace(0, 1, 64).reshape(1, 2, 8, 4)] * 3
aten = torch.ops.aten


def rnn(kind: str, *states: int) -> Call:
    torch.manual_seed(1)
    module = getattr(nn, kind)(3, 4, num_layers=3, dropout=0.5)
    return lambda: module(torch.ones(5, 2, 3))[0]


def filled(name: str, *args: Any) -> Call:
    return lambda: getattr(torch.empty(9), name)(*args)


DRAWS: dict[str, Call] = {  # by operator
    "_sample_dirichlet": lambda: torch._sample_dirichlet(HALF),
    "_scaled_dot_product_attention_math": lambda: torch._scaled_dot_product_attention_math(*QKV, dropout_p=0.5),
    "_standard_gamma": lambda: torch._standard_gamma(HALF),
    "alpha_dropout": lambda: torch.alpha_dropout(X, 0.5, True),
    "alpha_dropout_": lambda: torch.alpha_dropout_(X.clone(), 0.5, True),
    "bernoulli": lambda: (torch.bernoulli(HALF), HALF.bernoulli(), HALF.bernoulli(0.3), aten.bernoulli.p(HALF, 0.5)),
    "bernoulli_": lambda: (X.clone().bernoulli_(0.5), X.clone().bernoulli_(HALF)),
    "binomial": lambda: torch.binomial(9 * HALF, HALF),
    "cauchy": lambda: aten.cauchy(X),
    "cauchy_": filled("cauchy_"),
    "dropout": lambda: torch.dropout(X, 0.5, True),
    "dropout_": lambda: torch.dropout_(X.clone(), 0.5, True),
    "exponential": lambda: aten.exponential(X),
    "exponential_": filled("exponential_", 2.0),
    "feature_alpha_dropout": lambda: torch.feature_alpha_dropout(X.reshape(4, 3, 2), 0.5, True),
    "feature_alpha_dropout_": lambda: torch.feature_alpha_dropout_(X.reshape(4, 3, 2).clone(), 0.5, True),
    "feature_dropout": lambda: torch.feature_dropout(X.reshape(4, 3, 2), 0.5, True),
    "feature_dropout_": lambda: torch.feature_dropout_(X.reshape(4, 3, 2).clone(), 0.5, True),
    "geometric": lambda: aten.geometric(X, 0.1),
    "geometric_": filled("geometric_", 0.1),
    "gru": rnn("GRU"),
    "log_normal": lambda: aten.log_normal(X),
    "log_normal_": filled("log_normal_"),
    "lstm": rnn("LSTM"),
    "multinomial": lambda: (torch.multinomial(HALF, 3), HALF.multinomial(num_samples=2)),
    "normal": lambda: (torch.normal(X, 1.0), torch.normal(0.0, HALF), torch.normal(mean=X, std=HALF), normals()),
    "normal_": filled("normal_", 1, 3),
    "normal_functional": lambda: aten.normal_functional(X),
    "poisson": lambda: torch.poisson(9 * HALF),
    "rand": lambda: (torch.rand(2, 3), torch.rand(1, out=torch.empty(1)), torch.rand(1, generator=None)),
    "rand_like": lambda: torch.rand_like(X),
    "randint": lambda: (torch.randint(99, (4,)), torch.randint(-9, 1 << 40, (3,), dtype=torch.int64)),
    "randint_like": lambda: (torch.randint_like(X, 99), torch.randint_like(X, 5, 99), likes()),
    "randn": lambda: (torch.randn(3), torch.randn((20,), dtype=torch.float64)),
    "randn_like": lambda: torch.randn_like(X),
    "random": lambda: (aten.random(X), aten.random(X, 5), aten.random(X, 5, 99)),
    "random_": lambda: (torch.empty(3).random_(), torch.empty(3).random_(9), torch.empty(3).random_(5, 99)),
    "randperm": lambda: (torch.randperm(9), torch.randperm(5, generator=torch.default_generator)),
    "rnn_relu": lambda: RELU(torch.ones(5, 2, 3))[0],
    "rnn_tanh": rnn("RNN"),
    "rrelu": lambda: torch.rrelu(X, training=True),
    "rrelu_": lambda: torch.rrelu_(X.clone(), training=True),
    "rrelu_with_noise": lambda: torch._C._nn.rrelu_with_noise(X, X.clone(), training=True),
    "rrelu_with_noise_": lambda: torch._C._nn.rrelu_with_noise_(X.clone(), X.clone(), training=True),
    "rrelu_with_noise_functional": lambda: aten.rrelu_with_noise_functional(X, X, training=True),
    "scaled_dot_product_attention": lambda: F.scaled_dot_product_attention(*QKV, dropout_p=0.5),
    "uniform": lambda: aten.uniform(X),
    "uniform_": lambda: (torch.empty(9).uniform_(), torch.empty(3).uniform_(5, 6), aten.uniform_.default(X.clone())),
}
RELU = nn.RNN(3, 4, num_layers=3, dropout=0.5, nonlinearity="relu")


def normals() -> torch.Tensor:
    return torch.normal(0.0, 1.0, (3,))


def likes() -> torch.Tensor:
    return torch.randint_like(X, torch.tensor(99))


NO_DRAW = {  # on the CPU, from a global generator
    "_fused_sdp_choice": "a choice of the code to run",
    "_nested_tensor_softmax_with_shape": "a softmax",
    "_no_grad_normal_": "TorchScript's",
    "_no_grad_uniform_": "TorchScript's",
    "_scaled_dot_product_flash_attention_for_cpu": "knows no dropout",
    "initial_seed": "of a generator that is passed",
    "manual_seed": "of a generator that is passed",
    "native_dropout": "of GPUs; functions for the CPU do not come here",
    "seed": "of a generator that is passed",
}
OF_GPUS = ("cudnn", "efficient", "flash_attention_forward", "fused", "mem_eff", "miopen", "mps", "triton")
OF_GPUS += ("_scaled_dot_product_flash_attention",)


def random_operators() -> set[str]:
    """The names of all of torch's operators that draw, or may."""
    found = set()
    for schema in torch._C._jit_get_all_schemas():
        space, name = schema.name.split("::")
        if space == "aten":
            operator = getattr(getattr(aten, name), schema.overload_name or "default")
            takes = any("Generator" in str(argument.type) for argument in schema.arguments)
            if takes or torch.Tag.nondeterministic_seeded in operator.tags:
                found.add(name)
    return found


def test_every_operator_that_draws_is_tested_here() -> None:
    known = {*DRAWS, *NO_DRAW}
    others = {name for name in random_operators() - known if not any(part in name for part in OF_GPUS)}
    assert others == set()
    assert known <= random_operators()


@pytest.mark.parametrize("name", DRAWS)
def test_torchs_functions_draw_from_the_seed(name: str) -> None:
    check_draws(DRAWS[name])


COMPOSED: dict[str, Call] = {
    "dropout": lambda: F.dropout(X),
    "dropout in place": lambda: F.dropout(X.clone(), inplace=True),
    "dropout1d": lambda: F.dropout1d(X.reshape(4, 3, 2)),
    "dropout2d": lambda: F.dropout2d(X.reshape(4, 3, 2, 1)),
    "dropout3d": lambda: F.dropout3d(X.reshape(4, 3, 2, 1, 1)),
    "Dropout": lambda: nn.Dropout(0.5)(X),
    "alpha_dropout": lambda: F.alpha_dropout(X, training=True),
    "feature_alpha_dropout": lambda: F.feature_alpha_dropout(X.reshape(4, 3, 2), training=True),
    "rrelu": lambda: F.rrelu(X, training=True),
    "gumbel_softmax": lambda: F.gumbel_softmax(X),
    "fractional_max_pool2d": lambda: F.fractional_max_pool2d(
        torch.arange(1024.0).reshape(1, 32, 32), 2, output_ratio=(0.7, 0.7)
    ),
    "svd_lowrank": lambda: torch.svd_lowrank(X, q=2, niter=0)[1],
    "init": lambda: [nn.init.trunc_normal_(torch.empty(4)), nn.init.kaiming_uniform_(torch.empty(3, 3))],
    "orthogonal_": lambda: nn.init.orthogonal_(torch.empty(3, 3)),
    "Linear": lambda: list(nn.Linear(2, 3).parameters()),
    "MultiheadAttention": lambda: nn.MultiheadAttention(4, 2, dropout=0.5)(*[torch.ones(3, 1, 4)] * 3)[0],
    "Normal": lambda: torch.distributions.Normal(0.0, 1.0).sample((3,)),
    "Gamma": lambda: torch.distributions.Gamma(HALF, HALF).sample(),
    "Beta": lambda: torch.distributions.Beta(0.2, 0.2).sample(),
    "Categorical": lambda: torch.distributions.Categorical(HALF).sample((9,)),
    "random_split": lambda: list(torch.utils.data.random_split(range(9), [4, 5])[0]),
    "gradient": lambda: gradient(),
}


def gradient() -> torch.Tensor:
    x = X.clone().requires_grad_()
    F.dropout(x).sum().backward()
    return x.grad


@pytest.mark.parametrize("name", COMPOSED)
def test_what_rests_on_torchs_functions_draws_from_the_seed(name: str) -> None:
    check_draws(COMPOSED[name])


def test_a_generator_of_the_callers_own_stays_in_use() -> None:
    own = torch.Generator().manual_seed(4)
    expected = torch.rand(3, generator=torch.Generator().manual_seed(4))
    assert call_seeded(SEED, lambda: torch.rand(3, generator=own)).equal(expected)
    torch.manual_seed(5)
    expected = torch.poisson(9 * HALF, torch.Generator().manual_seed(4))
    assert call_seeded(SEED, lambda: torch.poisson(9 * HALF, own.manual_seed(4))).equal(expected)


def test_tensors_are_copied_pickled_and_printed_as_ever() -> None:
    for call in (copy.deepcopy, copy.copy, repr, len, lambda x: 1 - x, lambda x: pickle.loads(pickle.dumps(x))):
        for x in (X, nn.Parameter(X)):
            inside, outside = call_seeded(SEED, call, x), call(x)
            assert type(inside) is type(outside)
            assert plain(inside) == plain(outside)


class Functions(TorchFunctionMode):
    """Sees which functions were handed a generator."""

    def __init__(self) -> None:
        self.handed: list[bool] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.rand, torch.Tensor.uniform_):  # and no look at a device
            self.handed.append("generator" in (kwargs or {}))
        return func(*args, **(kwargs or {}))


class Operators(TorchDispatchMode):
    """Sees which operators were handed a generator."""

    def __init__(self) -> None:
        super().__init__()
        self.handed: list[bool] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.handed.append("generator" in (kwargs or {}))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_only_what_is_drawn_on_the_cpu_is_drawn_from_the_seed(device: str) -> None:
    """A GPU would refuse the generator; torch's meta device stands for it here."""
    made, at = torch.empty(2, device=device), torch.device(device)
    handed = [device == "cpu"] * 2
    with Functions() as functions:
        call_seeded(SEED, lambda: (torch.rand(3, device=at), torch.Tensor.uniform_(made)))
    assert functions.handed == handed
    with Operators() as operators:
        call_seeded(SEED, lambda: (aten.rand.default([3], device=at), aten.uniform_.default(made)))
    assert operators.handed == handed


def reseeded() -> list[Any]:
    torch.manual_seed(11)
    first = torch.rand(1)
    state = torch.get_rng_state()
    with torch.random.fork_rng():
        forked = torch.rand(1)
    again = torch.rand(1)
    torch.set_rng_state(state)
    return [first, forked, again, torch.rand(1), torch.initial_seed()]


def test_seeding_torch_inside_of_a_call_seeds_the_call_alone() -> None:
    expected = plain(reseeded())
    before = global_states()
    assert plain(call_seeded(SEED, reseeded)) == expected
    assert call_seeded(SEED, torch.initial_seed) == SEED
    assert torch.initial_seed is torch.random.initial_seed
    assert call_seeded(SEED, torch.seed) != call_seeded(SEED, torch.seed)
    assert global_states() == before


def test_seeding_torch_inside_of_a_call_leaves_gpus_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    call_seeded(SEED, lambda: torch.manual_seed(5))
    assert seeded == []
    torch.manual_seed(6)
    assert seeded == [6]


def modes() -> int:
    """Of this thread."""
    return torch._C._len_torch_dispatch_stack() + torch._C._len_torch_function_stack()


def test_the_modes_stay_on_their_thread() -> None:
    """The flags of the process stay down, too: by these torch.compile would leave code of other threads uncompiled."""

    def distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        seen.append((modes() > 0, in_thread(modes), torch.utils._python_dispatch._is_in_torch_dispatch_mode))
        return F.pairwise_distance(a, b)

    seen: list[tuple[bool, int, bool]] = []
    call_seeded(SEED, lambda: F.triplet_margin_with_distance_loss(X, HALF, X + 1, distance_function=distance))
    assert {*seen} == {(True, 0, False)}
    assert modes() == 0


def in_thread(call: Call) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


# ---- Python and numpy ----

PYTHON: dict[str, Call] = {
    "random": lambda: random.random(),
    "getrandbits": lambda: random.getrandbits(70),
    "randbytes": lambda: random.randbytes(5),
    "randint": lambda: random.randint(0, 1 << 80),
    "choices": lambda: random.choices(range(999), k=4),
    "sample": lambda: random.sample(range(999), 4),
    "gauss": lambda: [random.gauss(0, 1) for _ in range(3)],
    "normalvariate": lambda: random.normalvariate(0, 1),
    "betavariate": lambda: random.betavariate(1, 2),
    "imported uniform": lambda: uniform(2, 3),
    "imported gauss": lambda: [gauss(0, 1) for _ in range(3)],
    "imported shuffle": lambda: shuffled(),
}
NUMPY: dict[str, Call] = {
    name: (lambda name=name, args=args: [getattr(np.random, name)(*args) for _ in range(3)])
    for name, *args in [
        ("rand", 3),
        ("randn", 3),
        ("randint", 1 << 40),
        ("random",),
        ("random_sample",),
        ("sample",),
        ("ranf",),
        ("uniform", 2, 3),
        ("normal",),
        ("standard_normal",),
        ("choice", 999),
        ("permutation", 9),
        ("beta", 1, 2),
        ("binomial", 99, 0.5),
        ("dirichlet", [1, 1]),
        ("bytes", 4),
    ]
}
NUMPY["mtrand"] = lambda: np.random.mtrand._rand.rand(3)


def shuffled() -> list[int]:
    items = list(range(99))
    shuffle(items)
    return items


@pytest.mark.parametrize("name", PYTHON)
def test_pythons_functions_draw_from_the_seed(name: str) -> None:
    check_draws(PYTHON[name])


@pytest.mark.parametrize("name", NUMPY)
def test_numpys_functions_draw_from_the_seed(name: str) -> None:
    check_draws(NUMPY[name])


def test_every_function_of_numpy_that_the_hidden_state_has_is_found_on_the_threads_own() -> None:
    hidden = np.random.mtrand._rand
    names = [name for name in dir(hidden) if not name.startswith("_") and hasattr(np.random, name)]
    assert len(names) > 40
    for module in (np.random, np.random.mtrand):
        own = call_seeded(SEED, lambda module=module: [getattr(module, name) for name in names])
        assert all(method.__self__ is not hidden for method in own)
        assert all(getattr(module, name) == vars(module)[name] for name in names)


def reseeded_python() -> list[Any]:
    seed_of_python("a word")
    values = [gauss(0, 1)]
    state = getstate()
    values += [gauss(0, 1), uniform(0, 1)]
    setstate(state)
    values += [gauss(0, 1), uniform(0, 1)]
    np.random.seed(5)
    kept = np.random.get_state()
    values.append(np.random.randn())
    np.random.set_state(kept)
    return [*values, np.random.randn()]


def test_seeding_python_and_numpy_inside_of_a_call_seeds_the_call_alone() -> None:
    expected = reseeded_python()
    before = global_states()
    assert call_seeded(SEED, reseeded_python) == expected
    assert global_states() == before


def test_the_second_number_of_gauss_stays_with_its_own_generator() -> None:
    random.seed(1)
    one, two = random.gauss(0, 1), random.gauss(0, 1)
    random.seed(1)
    assert random.gauss(0, 1) == one
    inside = call_seeded(SEED, random.gauss, 0, 1)
    assert random.gauss(0, 1) == two
    assert call_seeded(SEED, random.gauss, 0, 1) == inside


def test_copies_of_the_modules_generator_are_ordinary() -> None:
    hidden = random._inst
    for one in (copy.copy(hidden), copy.deepcopy(hidden), pickle.loads(pickle.dumps(random.uniform)).__self__):
        assert type(one) is random.Random
        assert one.getstate() == hidden.getstate()
    assert copy.deepcopy(np.random) is np.random
    assert pickle.loads(pickle.dumps(torch.random.manual_seed)) is torch.random.manual_seed


@pytest.mark.parametrize(("module", "name"), [(np.random, "rand"), (random, "random"), (torch, "manual_seed")])
def test_a_function_that_a_test_replaces_is_replaced(module: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = getattr(module, name)
    with monkeypatch.context() as patched:
        patched.setattr(module, name, lambda: 0.5)
        assert getattr(module, name)() == call_seeded(SEED, lambda: getattr(module, name)()) == 0.5
        patched.delattr(module, name)
        assert not hasattr(module, name)
    assert getattr(module, name) == before


# ---- calls ----


def mixture() -> list[Any]:
    """From all generators, often."""
    values: list[Any] = []
    for _ in range(20):
        values += [torch.rand(1).item(), random.random(), np.random.rand(), random.gauss(0, 1), np.random.randn()]
        values += [torch.randn(1).item(), F.dropout(HALF).tolist(), torch.randperm(5).tolist()]
    return values


def test_eight_threads_and_the_main_thread_do_not_disturb_each_other() -> None:
    seeds = [SEED + k for k in range(8)]
    expected = [call_seeded(seed, mixture) for seed in seeds]
    seed_globally(9)
    alone = [mixture() for _ in range(3)]
    ended = global_states()
    seed_globally(9)
    start = threading.Barrier(9)

    def work(seed: int) -> list[list[Any]]:
        start.wait()
        return [call_seeded(seed, mixture) for _ in range(3)]

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            runs = [pool.submit(work, seed) for seed in seeds]
            start.wait()
            main = [mixture() for _ in range(3)]
            results = [run.result() for run in runs]
    finally:
        sys.setswitchinterval(interval)
    assert results == [[values] * 3 for values in expected]
    assert main == alone
    assert global_states() == ended


def test_no_call_waits_for_another() -> None:
    """Each of two calls goes on only when the other is inside, too."""
    both = threading.Barrier(2, timeout=60)

    def meet() -> float:
        first = random.random() + np.random.rand() + torch.rand(1).item()
        both.wait()
        return first + random.random() + np.random.rand() + torch.rand(1).item()

    with ThreadPoolExecutor(2) as pool:
        one, two = (pool.submit(call_seeded, seed, meet) for seed in (1, 2))
    assert one.result() != two.result()


def test_calls_nest() -> None:
    expected, inner = call_seeded(SEED, lambda: (mixture(), mixture())), call_seeded(OTHER, mixture)
    assert call_seeded(SEED, lambda: (mixture(), call_seeded(OTHER, mixture), mixture())) == (
        expected[0],
        inner,
        expected[1],
    )


def test_an_exception_leaves_all_as_it_was() -> None:
    def fail() -> None:
        mixture()
        raise KeyError("it")

    expected = call_seeded(OTHER, mixture)
    before = global_states()
    for _ in range(2):
        with pytest.raises(KeyError, match="it"):
            call_seeded(SEED, fail)
    assert global_states() == before
    assert modes() == 0
    assert call_seeded(OTHER, mixture) == expected


def test_the_next_call_uses_the_generators_of_the_last() -> None:
    one, two = (call_seeded(seed, lambda: np.random.mtrand._rand) for seed in (SEED, OTHER))
    assert one is two
    assert in_thread(lambda: call_seeded(SEED, lambda: np.random.mtrand._rand)) is not one


def test_what_a_thread_holds_ends_with_it() -> None:
    enabled = gc.isenabled()
    gc.disable()
    try:
        held = in_thread(lambda: weakref.ref(call_seeded(SEED, lambda: (mixture(), thread.generators)[1])))
        assert held() is None
    finally:
        if enabled:
            gc.enable()


def test_arguments_are_passed_on() -> None:
    assert call_seeded(SEED, dict, [("a", 1)], seed=2, f=3) == {"a": 1, "seed": 2, "f": 3}


def test_what_is_unseeded_by_intent_stays_so() -> None:
    for call in (
        random.SystemRandom().random,
        lambda: random.Random().random(),
        lambda: np.random.default_rng().random(),
    ):
        assert call_seeded(SEED, call) != call_seeded(SEED, call)
