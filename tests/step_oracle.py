"""GRU4Rec's whole training step in NumPy float64, differentiated numerically.

The oracle reads a step's events and draws out of the batch (that these are right is tested with
`tfrec_zoo.data.sessions.session_batches`) and lists each event's negatives one by one.
"""

import numpy as np
from oracles import (
    ACTIVATIONS,
    Optimizer,
    clip,
    gru_step,
    list_negatives,
    log_q,
    numerical_gradient,
    ranking_loss,
)


class StepOracle:
    """The training step of an experiment by the formulas; holds its own weights and slots."""

    def __init__(self, step, experiment, counts):
        """Takes over the weights of a `GRU4RecStep` that has not been run."""
        self.counts = counts
        model, options = step.model, experiment.optimizer
        self.experiment = experiment
        self.names = ["item_table"] + ["input_table"] * (model.input_table is not None)
        self.weights = {name: getattr(model, name).numpy().astype(float) for name in self.names}
        for n, cell in enumerate(model.network.cells):
            for variable in cell.trainable_variables:
                name = variable.name.split("/")[-1].split(":")[0]
                self.weights[f"{n}/{name}"] = variable.numpy().astype(float)
        self.optimizers = {}
        for name in self.weights:
            rate = options.learning_rate
            if name in self.names and options.embedding_learning_rate:
                rate = options.embedding_learning_rate
            arguments = options.optimizer, rate, options.momentum, options.l2_penalty
            self.optimizers[name] = Optimizer(*arguments)

    def __call__(self, batch, states):
        """Returns the sum of the losses and the new states; moves its weights."""
        self.events = self._list_events(batch)
        inputs = batch["input_rows"] if "input_rows" in batch else self._columns(batch)
        self.item_rows = inputs[batch["item_column"]]
        self.batch = batch
        loss_sum, new_states = self._play(self.weights, states)
        touched = self._touched_rows()
        gradients = {}
        for name, value in self.weights.items():
            rows = touched.get(name, np.s_[:])

            def objective(part, name=name, value=value, rows=rows):
                changed = value.copy()
                changed[rows] = part
                loss_sum, _ = self._play({**self.weights, name: changed}, states)
                return loss_sum / self._divisor()

            gradients[name] = np.zeros_like(value)
            gradients[name][rows] = numerical_gradient(objective, value[rows])
        clipped = clip(list(gradients.values()), self.experiment.optimizer.clip_norm)
        for (name, value), gradient in zip(self.weights.items(), clipped, strict=True):
            rows = touched.get(name, np.s_[:])
            self.weights[name] = self.optimizers[name].move(value, gradient, rows)
        return loss_sum, new_states

    def _columns(self, batch):
        return batch.get("columns", np.arange(len(self.counts)))

    def _list_events(self, batch):
        """(place in [T * B], candidates' rows with the target first, corrections)."""
        config, columns = self.experiment, self._columns(batch)
        targets = columns[batch["target_column"]].ravel()
        places = np.flatnonzero(batch["is_valid"].ravel())
        events = []
        for row, place in enumerate(places):
            target = targets[place]
            if config.batches.is_full_catalogue:
                draws = [item for item in range(1, len(self.counts)) if item != target]
            elif config.batches.shared_negatives:
                draws = np.repeat(columns, batch["negative_counts"].astype(int)).tolist()
            else:
                draws = columns[batch["negative_column"]].reshape(len(targets), -1)[place].tolist()
            others, draws = list_negatives(
                row,
                targets[places].tolist(),
                draws,
                has_in_batch=config.batches.in_batch_negatives and "in_batch_counts" in batch,
                removes_hits=config.loss.remove_accidental_hits,
            )
            weight, alpha = config.loss.logq_weight, config.batches.popularity_exponent
            corrections = log_q(target, others, draws, np.maximum(self.counts, 1), weight, alpha)
            events.append((place, [target, *others, *draws], corrections))
        return events

    def _play(self, weights, states):
        """Returns the sum of the events' losses and the states after the step."""
        model, loss = self.experiment.model, self.experiment.loss
        table = weights["input_table"] if "input_table" in weights else weights["item_table"]
        bias = int(model.use_item_bias)
        outputs = []
        for rows, is_first in zip(self.item_rows, self.batch["is_first"], strict=True):
            x = table[rows][:, : -bias or None] if model.tie_embeddings else table[rows]
            new_states = []
            for n, state in enumerate(states):
                prefix = f"{n}/"
                layer = {k[len(prefix) :]: v for k, v in weights.items() if k.startswith(prefix)}
                x = gru_step(x, np.where(is_first[:, None], 0, state), layer)
                new_states.append(x)
            states = new_states
            outputs.append(x)
        vectors = np.concatenate(outputs)
        activation = "elu-0.5" if model.score_activation == "elu" else model.score_activation
        total, width = 0.0, vectors.shape[1]
        for place, items, corrections in self.events:
            rows = weights["item_table"][items]
            scores = rows[:, :width] @ vectors[place] + (rows[:, width] if bias else 0)
            scores = ACTIVATIONS[activation](scores)
            total += ranking_loss(
                loss.loss,
                scores[0],
                scores[1:],
                corrections=corrections,
                smoothing=loss.label_smoothing,
                penalty=loss.effective_score_penalty,
            )
        return total, states

    def _touched_rows(self):
        """The rows that the step is about: of inputs, targets and negatives."""
        candidates = {item for _, items, _ in self.events for item in items}
        inputs = set(self.item_rows[self.batch["is_valid"]].tolist())
        if self.experiment.model.tie_embeddings:
            return {"item_table": sorted(candidates | inputs)}
        return {"item_table": sorted(candidates), "input_table": sorted(inputs)}

    def _divisor(self):
        reduction = self.experiment.loss.loss_reduction
        lanes = {"sum": 1, "events": len(self.events), "lanes": self.batch["is_valid"].size}
        return lanes[reduction]
