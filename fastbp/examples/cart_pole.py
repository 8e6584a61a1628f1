"""A policy trained inside a compiled cart-pole loop: simulation, network, gradient and optimizer in one function.

The policy π(push | state) is the softmax of a network 4-32-2, trained by REINFORCE [1]_: after an episode, θ moves
along Σ_t A_t ∇ log π(push_t | state_t), where A_t is the discounted sum of rewards from t on, less its mean over the
episode and in units of its standard deviation. This is -∇E of E = -Σ_t A_t log π(push_t | state_t), whose derivative by
the outputs y_t is A_t (π_t - 1 at the push taken); `fastbp.jit.backward` takes it from there. The cart and the pole are
those of [2]_; an episode ends when the pole falls, the cart leaves its track, or after 500 steps.

    python -m fastbp.examples.cart_pole

.. [1] Williams, "Simple statistical gradient-following algorithms for connectionist reinforcement learning", 1992.
.. [2] Barto, Sutton and Anderson, "Neuronlike adaptive elements that can solve difficult learning control problems",
       1983.
"""

from typing import Any

import numba
import numpy as np

import fastbp
import fastbp.jit

MAX_STEPS, DISCOUNT = 500, 0.99


@numba.njit
def move(state: Any, push: int) -> bool:
    """One step of 0.02 s; False when the pole has fallen or the cart has left the track."""
    gravity, cart, pole, half_length, seconds = 9.8, 1.0, 0.1, 0.5, 0.02
    x, v, angle, turn = state
    force = 10.0 if push == 1 else -10.0
    pull = (force + pole * half_length * turn**2 * np.sin(angle)) / (cart + pole)
    turning = (gravity * np.sin(angle) - np.cos(angle) * pull) / (
        half_length * (4.0 / 3.0 - pole * np.cos(angle) ** 2 / (cart + pole)))
    moving = pull - pole * half_length * turning * np.cos(angle) / (cart + pole)
    state[:] = x + seconds * v, v + seconds * moving, angle + seconds * turn, turn + seconds * turning
    return abs(state[0]) < 2.4 and abs(state[2]) < 0.2095


@numba.njit
def train(theta: Any, layout: Any, work: Any, episodes: int, learning_rate: float, rng: Any) -> Any:
    """Steps of every episode, and the status of the network's calls."""
    grad, averages = np.zeros_like(theta), np.zeros((2, theta.size))
    states, dE_dy, nothing = np.empty((MAX_STEPS, 4)), np.empty((MAX_STEPS, 2)), np.empty(0)
    returns, state, y = np.empty(MAX_STEPS), np.empty(4), np.empty(2)
    lengths, worst = np.zeros(episodes, np.int64), fastbp.jit.OK
    for episode in range(episodes):
        state[:] = rng.uniform(-0.05, 0.05, 4)
        steps, upright = 0, True
        while upright and steps < MAX_STEPS:
            states[steps] = state
            worst = max(worst, fastbp.jit.forward(theta, layout, state, y, work))
            right = 1.0 / (1.0 + np.exp(y[0] - y[1]))  # π of a push to the right
            push = int(rng.random() < right)
            dE_dy[steps] = 1.0 - right, right
            dE_dy[steps, push] -= 1.0
            upright = move(state, push)
            steps += 1
        total = 0.0
        for t in range(steps - 1, -1, -1):
            total = 1.0 + DISCOUNT * total
            returns[t] = total
        mean, deviation = returns[:steps].mean(), returns[:steps].std() + 1e-8
        for t in range(steps):
            dE_dy[t] *= (returns[t] - mean) / deviation / steps
        status = fastbp.jit.backward(theta, layout, states[:steps], dE_dy[:steps], grad, nothing, work)
        worst = max(worst, status, fastbp.jit.adam_step(theta, grad, averages, episode + 1, learning_rate))
        lengths[episode] = steps
    return lengths, worst


def main() -> np.ndarray:
    """Train 1,000 episodes, and say how long the pole stays up in the first and in the last hundred."""
    net = fastbp.MLP([4, 32, 2], activation="tanh", dtype="float64", seed=0)
    lengths, status = train(net.theta, net.layout, fastbp.jit.workspace(net.layout, MAX_STEPS), 1000, 0.01,
                            np.random.default_rng(0))
    print(f"status {status}: the pole stays up for {lengths[:100].mean():.0f} steps in the first hundred episodes, "
          f"{lengths[-100:].mean():.0f} of at most {MAX_STEPS} in the last")
    return np.asarray(lengths)


if __name__ == "__main__":
    main()
