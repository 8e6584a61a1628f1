"""How long slices are and on how many threads, driven by patterns of costs: every slice is bounded, and the better
number of threads does most of the work."""

import random
import statistics

import pytest

from fastbp import MLP
from fastbp.pace import GROWTH, PATIENCE, Pace, Paces, paces_of

SLICE = 0.05


class Machine:
    """Two threads, and what a step costs on one and on both.

    Parameters
    ----------
    alone : float
        Seconds of a step on one thread.
    waits : function of seconds
        How many of them two threads wait for each other in a step; 0 while nothing else runs.
    noise : random.Random
    """

    def __init__(self, alone, waits, noise, batch):
        self.alone, self.waits, self.noise, self.batch = alone, waits, noise, batch
        self.clock = self.best = 0.0
        self.slices = []

    def step_seconds(self, team):
        return self.alone if team == 1 else 0.55 * self.alone + self.waits(self.clock)

    def run(self, pace, until):
        while self.clock < until:
            team, budget = pace.next_slice(2)
            steps = -(-budget // self.batch)
            noise, step = self.noise.lognormvariate(0, 0.1), self.step_seconds(team)
            better = min(self.step_seconds(1), self.step_seconds(2))
            self.slices.append((self.clock, team, steps, steps * step * noise))
            self.clock += steps * step * noise
            self.best += steps * better * noise
            pace.learn(team, steps * step * noise, steps * self.batch)
        return self

    @property
    def loss(self):
        """How many times as long it took as on the better number of threads throughout."""
        return self.clock / self.best


def machines(seed, waits_of):
    """Steps of 20 µs, from which on threads are woken, to 0.2 s, in batches of 1 to 1000 samples."""
    draw = random.Random(seed)
    alone = 10 ** draw.uniform(-4.7, -0.7)
    return Machine(alone, waits_of(draw, alone), draw, draw.choice([1, 32, 128, 1000]))


def quiet(draw, alone):
    return lambda clock: 0.0


def busy(draw, alone):
    wait = draw.uniform(0.002, 0.02)
    return lambda clock: wait


def changing(draw, alone):
    wait, period = draw.uniform(0.002, 0.02), 10 ** draw.uniform(0.0, 0.7)
    return lambda clock: wait * (int(clock / period) % 2)


#: How many machines are drawn.
each_number = pytest.mark.parametrize("number", [100, pytest.param(700, marks=pytest.mark.full)])


@each_number
@pytest.mark.parametrize(("waits_of", "until", "usual", "worst"), [
    (quiet, 3.0, 1.05, 1.2), (busy, 3.0, 1.05, 1.2), (changing, 8.0, 1.15, 1.8)])
def test_most_of_the_work_is_done_on_the_better_number_of_threads(waits_of, until, usual, worst, number):
    losses = [machines(seed, waits_of).run(Pace(SLICE), until).loss for seed in range(number)]
    assert statistics.median(losses) < usual
    assert max(losses) < worst


@each_number
@pytest.mark.parametrize("waits_of", [quiet, busy, changing])
def test_every_slice_is_bounded(waits_of, number):
    """By the time that a slice may take and one step; where threads begin to wait for each other within a slice, by 32
    of their steps. The noise is of a tenth."""
    for seed in range(number):
        machine = machines(seed, waits_of).run(Pace(SLICE), until=3.0)
        for clock, team, steps, seconds in machine.slices:
            step = machine.alone if team == 1 else 0.55 * machine.alone + machine.waits(clock)
            bound = SLICE + step if team == 1 else SLICE / 8 + step * (32 if waits_of is changing else 1)
            assert seconds <= 2.0 * bound, (seed, team, steps, step)


def test_the_first_slices_are_the_shortest_there_are():
    """Whatever they cost; later ones grow by a factor at the most."""
    pace, most = Pace(SLICE), 0
    for _ in range(40):
        team, budget = pace.next_slice(2)
        assert budget <= max(1, GROWTH * most)
        most = max(most, budget)
        pace.learn(team, 1e-9 * budget, budget)
    assert most > 10**6


def test_long_steps_on_two_threads_do_not_make_slices_longer():
    """Batches of 128 that take 17 ms on any number of threads: three of them are a slice."""
    pace = Pace(SLICE)
    for _ in range(1000):
        team, budget = pace.next_slice(2)
        assert budget <= 3 * 128
        pace.learn(team, 0.017, 128)


def test_one_thread_is_tried_where_steps_are_long_because_threads_wait():
    """A step of 5 ms alone, and of 36 on two threads."""
    machine = Machine(0.005, lambda clock: 0.033, random.Random(0), 128).run(Pace(SLICE), until=5.0)
    assert sum(seconds for _, team, _, seconds in machine.slices if team == 2) < 0.1 * machine.clock


def test_what_compiling_took_is_forgotten():
    pace = Pace(SLICE)
    for team, seconds in [(1, 20.0), (1, 0.001), (2, 20.0)]:
        assert pace.next_slice(2)[0] == team
        pace.learn(team, seconds, 100)
    waited = 0.0
    while pace.next_slice(2)[0] == 1:
        pace.learn(1, 0.05, 5000)
        waited += 0.05
        assert waited < PATIENCE * 20.0 + 1.0
    pace.learn(2, 0.0006, 100)
    for _ in range(20):
        team, budget = pace.next_slice(2)
        pace.learn(team, 1e-5 * budget / team, budget)
    assert team == 2


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_the_numbers_of_threads_are_one_and_all(threads):
    pace, teams = Pace(SLICE), set()
    for _ in range(100):
        team, budget = pace.next_slice(threads)
        teams.add(team)
        pace.learn(team, 1e-5 * budget / team, budget)
    assert teams == {1, threads}


def test_a_slice_of_nothing_teaches_nothing():
    pace = Pace(SLICE)
    pace.learn(1, 0.1, 0)
    assert pace.next_slice(1) == (1, 1)


def test_calls_of_another_kind_begin_with_what_is_known():
    """Two threads wait for each other: no forward pass tries them first, and its first slice is not the shortest."""
    paces = Paces()
    training = paces.of("training", 3)
    for _ in range(30):
        team, budget = training.next_slice(2)
        training.learn(team, (1e-5 if team == 1 else 1e-3) * budget, budget)
    forward = paces.of("forward", 1)
    team, budget = forward.next_slice(2)
    assert team == 1
    assert budget > 100
    assert paces.of("forward", 1) is forward
    assert paces.of("training", 3) is training


def test_networks_of_one_shape_share_what_is_known():
    first, second, other = MLP([3, 4, 2], seed=0), MLP([3, 4, 2], seed=1), MLP([3, 5, 2], seed=0)
    assert first.pace("calls", 1) is second.pace("calls", 1) is not other.pace("calls", 1)
    assert paces_of("tiled", "float32", (3, 4, 2)) is paces_of("tiled", "float32", (3, 4, 2))
    assert MLP([3, 4, 2], dtype="float64").pace("calls", 1) is not first.pace("calls", 1)
