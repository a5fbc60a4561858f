"""The formulas in NumPy float64, written from the papers: slow, plain, and what the tests trust.

Item rows count from 1 as everywhere; row 0 is padding.
"""

from collections.abc import Callable

import numpy as np

from tfrec_zoo.data.sessions.session_log import Sessions


def make_sessions(lengths: list[int], num_items: int, seed: int = 0) -> Sessions:
    """Returns random sessions, whose start times are not in the order of the file."""
    rng = np.random.default_rng(seed)
    return Sessions(
        rows=rng.integers(1, num_items + 1, sum(lengths)).astype(np.int32),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        start_times=rng.integers(0, max(1, len(lengths) // 2), len(lengths)),
    )


def play_lanes(
    sessions: list[list[int]], num_lanes: int, has_extra_negatives: bool
) -> list[dict[int, tuple[int, int, bool]]]:
    """Plays an epoch click by click, as the original does.

    Returns:
        of each step: lane -> (click fed, click predicted, whether the session begins).
    """
    unused = list(sessions)
    playing = {lane: (unused.pop(0), 0) for lane in range(num_lanes)}
    steps = []
    while playing and (has_extra_negatives or len(playing) >= 2):
        steps.append({lane: (s[t], s[t + 1], t == 0) for lane, (s, t) in playing.items()})
        for lane, (session, t) in sorted(playing.items()):
            if t + 2 < len(session):
                playing[lane] = (session, t + 1)
            elif unused:
                playing[lane] = (unused.pop(0), 0)
            else:
                del playing[lane]
    return steps


def sigmoid(x: np.ndarray) -> np.ndarray:
    """The logistic function, without overflow."""
    return np.exp(-np.logaddexp(0, -x))


def log_sum_exp(x: np.ndarray) -> float:
    """The logarithm of the sum of exponentials."""
    return x.max() + np.log(np.exp(x - x.max()).sum())


ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "linear": lambda x: x,
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": sigmoid,
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "elu-0.5": lambda x: np.where(x > 0, x, 0.5 * np.expm1(np.minimum(x, 0))),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.2 * x),
    "selu": lambda x: (
        1.05070098735548 * np.where(x > 0, x, 1.67326324235438 * np.expm1(np.minimum(x, 0)))
    ),
    "swish": lambda x: x * sigmoid(x),
}


def gru_step(
    x: np.ndarray | None, h: np.ndarray, weights: dict[str, np.ndarray], activation: str = "tanh"
) -> np.ndarray:
    """One step of GRU4Rec's cell for inputs [B, E] and states [B, H].

    `weights` are `kernel` [E, 3H] (without it, x is the product already), `gate_kernel` [H, 2H],
    `candidate_kernel` [H, H] and `bias` [3H]; blocks are candidate, reset, update.
    """
    width = h.shape[1]
    v = (x @ weights["kernel"] if "kernel" in weights else x) + weights["bias"]
    v_c, v_r, v_z = v[:, :width], v[:, width : 2 * width], v[:, 2 * width :]
    r = sigmoid(v_r + h @ weights["gate_kernel"][:, :width])
    z = sigmoid(v_z + h @ weights["gate_kernel"][:, width:])
    candidate = ACTIVATIONS[activation](v_c + (r * h) @ weights["candidate_kernel"])
    return (1 - z) * h + z * candidate


def ranking_loss(
    name: str,
    target: float,
    negatives: np.ndarray,
    *,
    corrections: np.ndarray | float = 0.0,
    smoothing: float = 0.0,
    penalty: float = 1.0,
) -> float:
    """The loss of one event from the score of its target and of each negative, one by one.

    `corrections` [1 + N] are added to the scores (logQ), the target's first; cross-entropy only.
    """
    r = np.concatenate([[target], negatives])
    num = len(r)
    if name == "cross_entropy":
        minus_log_p = log_sum_exp(r + corrections) - (r + corrections)
        if num == 1:
            return minus_log_p[0]
        first = (1 - num / (num - 1) * smoothing) * minus_log_p[0]
        return first + smoothing / (num - 1) * minus_log_p.sum()
    if name == "bpr":
        return -np.sum(log_sigmoid(target - r))
    if name == "bpr_mean":
        return -np.mean(log_sigmoid(target - negatives))
    if name == "top1":
        both = np.sum(sigmoid(r - target) + sigmoid(r**2))
        return both / num - sigmoid(target**2) / num
    softmax = np.exp(negatives - log_sum_exp(negatives))
    if name == "top1_max":
        return np.sum(softmax * (sigmoid(negatives - target) + sigmoid(negatives**2)))
    assert name == "bpr_max"
    won = np.sum(softmax * sigmoid(target - negatives))
    return -np.log(won + 1e-24) + penalty * np.sum(softmax * negatives**2)


def log_sigmoid(x: np.ndarray) -> np.ndarray:
    """The logarithm of the logistic function."""
    return -np.logaddexp(0, -x)


def numerical_gradient(
    function: Callable[[np.ndarray], float], x: np.ndarray, width: float = 1e-5
) -> np.ndarray:
    """The gradient by central differences."""
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[index] = width
        gradient[index] = (function(x + step) - function(x - step)) / (2 * width)
    return gradient


class Optimizer:
    """The update rules for one array; `touched` says which rows a step is about."""

    def __init__(
        self,
        rule: str,
        rate: float,
        momentum: float = 0.0,
        l2: float = 0.0,
        is_table: bool = False,
    ) -> None:
        """Starts with all slots at zero."""
        self.is_table = is_table
        self.rule, self.rate, self.momentum, self.l2 = rule, rate, momentum, l2
        self.slots: dict[str, np.ndarray] = {}
        self.count = 0

    def move(
        self, weights: np.ndarray, gradient: np.ndarray, touched: np.ndarray | slice = np.s_[:]
    ) -> np.ndarray:
        """Returns the new weights; of other rows, weights and slots stay."""
        for name in ("accumulator", "second", "velocity"):
            self.slots.setdefault(name, np.zeros_like(weights))
        self.count += 1
        g, result = gradient[touched], weights.copy()
        a, b, v = (self.slots[name][touched] for name in ("accumulator", "second", "velocity"))
        step, a, b = self._adapt(g, a, b)
        v = self.momentum * v - self.rate * (step + self.l2 * weights[touched])
        result[touched] += v
        for name, value in (("accumulator", a), ("second", b), ("velocity", v)):
            self.slots[name][touched] = value
        return result

    def _adapt(self, g: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, ...]:
        if self.rule == "sgd":
            return g, a, b
        if self.rule == "adagrad":
            return g / np.sqrt(a + g**2 + 1e-6), a + g**2, b
        if self.rule == "rowwise_adagrad":
            # Kept as wide as the weights here, one value repeated along a table's row.
            square = np.repeat((g**2).mean(1)[:, None], g.shape[1], 1) if self.is_table else g**2
            return g / (np.sqrt(a + square) + 1e-10), a + square, b
        if self.rule == "rmsprop":
            a = 0.9 * a + 0.1 * g**2
            return g / np.sqrt(a + 1e-6), a, b
        if self.rule == "adadelta":
            a = 0.95 * a + 0.05 * g**2
            step = np.sqrt(b + 1e-6) / np.sqrt(a + 1e-6) * g
            return step, a, 0.95 * b + 0.05 * step**2
        assert self.rule == "adam"
        a, b = 0.9 * a + 0.1 * g, 0.999 * b + 0.001 * g**2
        return (a / (1 - 0.9**self.count)) / (np.sqrt(b / (1 - 0.999**self.count)) + 1e-7), a, b


def clip(gradients: list[np.ndarray], norm: float) -> list[np.ndarray]:
    """Scales all gradients down together to a global norm; 0: leaves them."""
    total = np.sqrt(sum(np.sum(g**2) for g in gradients))
    return [g * norm / total for g in gradients] if norm and total > norm else gradients


def list_negatives(
    row: int,
    targets: list[int],
    draws: list[int],
    *,
    has_in_batch: bool = True,
    removes_hits: bool = False,
) -> tuple[list[int], list[int]]:
    """Returns an event's negatives, repeated ones repeated: the other targets, the draws."""
    others = [item for n, item in enumerate(targets) if n != row] if has_in_batch else []
    kept = [
        [i for i in items if not (removes_hits and i == targets[row])] for items in (others, draws)
    ]
    return kept[0], kept[1]


def log_q(
    target: int,
    others: list[int],
    draws: list[int],
    counts: np.ndarray,
    weight: float,
    alpha: float,
) -> np.ndarray:
    """Returns what logQ adds to the scores of an event's candidates, [1 + N]."""
    in_batch = np.log(counts[[target, *others]].astype(float))
    drawn = alpha * np.log(counts[np.array(draws, int)].astype(float))
    return -weight * np.concatenate([in_batch, drawn])
