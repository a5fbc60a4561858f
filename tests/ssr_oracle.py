"""SSR's towers and its training step in NumPy float64, differentiated numerically.

The oracle reads a step's items, histories and draws out of the batch (that these are right is
tested with `tfrec_zoo.data.news.history_batches`), lists each example's negatives one by one, and
plays each history click by click.
"""

import math

import numpy as np
from oracles import (
    Optimizer,
    clip,
    gru_step,
    list_negatives,
    log_q,
    numerical_gradient,
    ranking_loss,
)


def take_weights(model) -> dict[str, np.ndarray]:
    """Returns the weights of an SSR whose features are of one width, by name, float64."""
    (table,) = model.tables.tables
    found = {"table": table.variable}
    for name in ("dense_projection", "session_layer", "item_layer"):
        if (layer := getattr(model, name)) is not None:
            found |= {f"{name}/{w.name.split('/')[-1].split(':')[0]}": w for w in layer.weights}
    if model.cell is not None:
        names = ("kernel", "gate_kernel", "candidate_kernel", "bias")
        found |= {f"cell/{name}": getattr(model.cell, name) for name in names}
    if model.age_scores is not None:
        found["age_scores"] = model.age_scores
    assert len(found) == len(model.trainable_variables)
    return found


def to_arrays(variables) -> dict[str, np.ndarray]:
    """Returns the values of variables, float64."""
    return {name: variable.numpy().astype(np.float64) for name, variable in variables.items()}


class Towers:
    """The two towers with given weights."""

    def __init__(self, config, weights):
        """Takes an `SSRConfig` and `to_arrays(take_weights(model))`."""
        self.config, self.weights = config, weights

    def read_items(self, dense, located, row_weights):
        """x [n, E] of items with numbers [n, Dn] and rows [n, S] of the table, weighed [n, S]."""
        rows = self.weights["table"][located]
        found = (rows if row_weights is None else rows * row_weights[..., None]).sum(axis=-2)
        if "dense_projection/kernel" in self.weights:
            found = found + dense @ self.weights["dense_projection/kernel"]
        return found

    def item_vectors(self, inputs):
        """v [n, D] of x [n, E]."""
        return self._finish(inputs, "item_layer")

    def session_vector(self, clicks):
        """u [D] of the clicks' x [T, E], one after the other."""
        if self.config.session_encoder == "mean":
            return self._finish(clicks.mean(axis=0), "session_layer")
        layer = {k.removeprefix("cell/"): v for k, v in self.weights.items() if "cell/" in k}
        state, outputs = np.zeros((1, self.config.hidden_dim)), []
        for click in clicks:
            state = gru_step(click[None], state, layer)
            outputs.append(state[0])
        pooled = {
            "last": outputs[-1],
            "mean": np.mean(outputs, axis=0),
            "max": np.max(outputs, axis=0),
        }
        return self._finish(pooled[self.config.session_pooling], "session_layer")

    def score_age(self, age):
        """a of an age; that of an item which has not come up, or of which nothing is known, 0."""
        if "age_scores" not in self.weights:
            return 0.0
        if not 0 < age < math.inf:
            return self.weights["age_scores"][0]
        bucket = 1 + math.floor(math.log(1 + age / self.config.age_unit) / math.log(1.5))
        return self.weights["age_scores"][min(bucket, self.config.age_buckets)]

    def _finish(self, values, layer):
        vectors = values @ self.weights[f"{layer}/kernel"] + self.weights[f"{layer}/bias"]
        if not self.config.normalize:
            return vectors
        return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


class StepOracle:
    """The training step of an experiment by the formulas; holds its own weights and slots."""

    def __init__(self, step, experiment):
        """Takes over the weights of an `SSRStep` that has not been run."""
        self.experiment, self.variables = experiment, take_weights(step.model)
        self.weights = to_arrays(self.variables)
        options, self.optimizers = experiment.optimizer, {}
        for name in self.weights:
            rate = options.learning_rate
            if name == "table" and options.embedding_learning_rate:
                rate = options.embedding_learning_rate
            arguments = options.optimizer, rate, options.momentum, options.l2_penalty
            self.optimizers[name] = Optimizer(*arguments)

    def __call__(self, batch):
        """Returns the sum of the losses; moves its weights."""
        self.batch = batch
        places = np.flatnonzero(batch["is_valid"])
        negatives = {place: self._list_negatives(place, places) for place in places}

        def total(weights):
            return self._sum_losses(Towers(self.experiment.model, weights), negatives)

        rows, gradients = np.unique(batch["columns_0"]), {}
        for name, value in self.weights.items():
            touched = rows if name == "table" else np.s_[:]

            def objective(part, name=name, value=value, touched=touched):
                changed = value.copy()
                changed[touched] = part
                return total({**self.weights, name: changed}) / len(places)

            gradients[name] = np.zeros_like(value)
            gradients[name][touched] = numerical_gradient(objective, value[touched])
        loss_sum = total(self.weights)
        clipped = clip(list(gradients.values()), self.experiment.optimizer.clip_norm)
        for (name, value), gradient in zip(self.weights.items(), clipped, strict=True):
            touched = rows if name == "table" else np.s_[:]
            self.weights[name] = self.optimizers[name].move(value, gradient, touched)
        return loss_sum

    def _list_negatives(self, place, places):
        """Returns (column, times, correction) of each negative of an example, and its target's."""
        batch, loss, batches = self.batch, self.experiment.loss, self.experiment.batches
        targets = batch["target_column"]
        is_shared = batches.shared_negatives
        if is_shared:
            columns = np.arange(len(batch["candidates"]))
            draws = np.repeat(columns, batch["negative_counts"].astype(int)).tolist()
        else:
            draws = batch["negative_column"][:, place].tolist()
        others, draws = list_negatives(
            int(np.flatnonzero(places == place)[0]),
            targets[places].tolist(),
            draws,
            has_in_batch=is_shared and batches.in_batch_negatives,
            removes_hits=loss.remove_accidental_hits,
        )
        counts = np.exp(batch["log_counts"].astype(np.float64))
        weight, alpha = loss.logq_weight, batches.popularity_exponent
        corrections = log_q(targets[place], others, draws, counts, weight, alpha)
        found = list(zip([*others, *draws], corrections[1:], strict=True))
        if is_shared:
            # Equal ones are one candidate, which counts for the hardest as one.
            grouped = {}
            for column, correction in found:
                grouped.setdefault(column, []).append((column, correction))
            found = list(grouped.values())
        else:
            found = [[one] for one in found]
        if "shown_column" in batch:
            shown = batch["shown_column"][:, place].tolist()
            found += [[(column, 0.0)] for column in shown if column]
        return found, corrections[0]

    def _sum_losses(self, towers, negatives):
        batch, loss = self.batch, self.experiment.loss
        located = batch["columns_0"][batch["column_of_0"]]
        weights = batch.get("row_weights")
        inputs = towers.read_items(batch["dense"].astype(np.float64), located, weights)
        vectors, total = towers.item_vectors(inputs[batch["candidates"]]), 0.0
        for place, (groups, correction) in negatives.items():
            session = towers.session_vector(self._clicks(inputs, place))

            def score(column, session=session, place=place):
                age = 0.0
                if "times" in batch:
                    passed = float(batch["times"][place]) - float(batch["candidate_times"][column])
                    age = towers.score_age(passed)
                return session @ vectors[column] + age

            target = score(batch["target_column"][place])
            scored = [(score(group[0][0]), group) for group in groups]
            if loss.num_hard_negatives and len(scored) > loss.num_hard_negatives:
                least = sorted((s for s, _ in scored), reverse=True)[loss.num_hard_negatives - 1]
                scored = [(s, group) for s, group in scored if s >= least]
            # One by one again.
            scores = np.array([s for s, group in scored for _ in group])
            corrections = np.array([c for _, group in scored for _, c in group])
            if loss.loss == "hinge":
                behind = np.maximum(0, loss.margin - target + scores)
                total += batch["weights"][place] * (behind.mean() if len(behind) else 0.0)
                continue
            total += batch["weights"][place] * ranking_loss(
                "cross_entropy",
                target / loss.temperature,
                scores / loss.temperature,
                corrections=np.concatenate([[correction], corrections]),
            )
        return total

    def _clicks(self, inputs, place):
        length = self.batch["lengths"][place]
        clicks = inputs[self.batch["history"][place, :length]]
        rate = self.experiment.model.item_dropout
        if rate:
            is_kept = self.batch["noise"][place, :length] >= round(rate * 2**16)
            clicks = np.where(is_kept, clicks / (1 - rate), 0)
        return clicks
