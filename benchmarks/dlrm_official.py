"""Worker: facebookresearch/dlrm's own `DLRM_Net` and optimizers, in the steps of its script.

Runs in the peer's own environment, with its clone on PYTHONPATH.
"""

import time

import dlrm_s_pytorch
import numpy as np
import torch
from dlrm_settings import BOTTOM_MLP, EMBEDDING_DIM, TOP_MLP, ClickData, Settings, split_rows
from dlrm_worker import run_side
from optim.rwsadagrad import RWSAdagrad

OPTIMIZERS = {
    "sgd": torch.optim.SGD,
    "adagrad": torch.optim.Adagrad,
    "rowwise_adagrad": RWSAdagrad,
}


class OfficialSide:
    """The PyTorch model."""

    def __init__(self, settings: Settings, data: ClickData) -> None:
        """Makes the model, and all training batches."""
        torch.set_num_threads(settings.threads)
        # The weights are drawn with NumPy.
        np.random.seed(settings.seed)
        torch.manual_seed(settings.seed)
        self.data = data
        self.model = dlrm_s_pytorch.DLRM_Net(
            m_spa=EMBEDDING_DIM,
            ln_emb=data.table_sizes,
            ln_bot=np.array([data.dense.shape[1], *BOTTOM_MLP]),
            ln_top=np.array([data.num_interactions, *TOP_MLP]),
            arch_interaction_op="dot",
            sigmoid_top=len(TOP_MLP) - 1,
            loss_function="bce",
        )
        self.optimizer = OPTIMIZERS[settings.optimizer](
            self.model.parameters(), lr=settings.learning_rate
        )
        labels = torch.from_numpy(data.labels)[:, None]
        self.training_batches = [
            (self.make_batch(rows), labels[rows])
            for rows in split_rows(0, data.num_train, settings.batch_size)
        ]

    def train_epoch(self) -> float:
        """Trains once over the training rows and returns the seconds."""
        start = time.perf_counter()
        for batch, labels in self.training_batches:
            loss = self.model.loss_fn(self.model(*batch), labels)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return time.perf_counter() - start

    def make_batch(self, rows: slice) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Returns dense features [B, 13], offsets [F, B] of the bags of one, and ids [F, B]."""
        ids = np.ascontiguousarray(self.data.ids[rows].T, np.int64)
        offsets = torch.arange(ids.shape[1]).repeat(len(ids), 1)
        return torch.from_numpy(self.data.dense[rows]), offsets, torch.from_numpy(ids)

    @torch.inference_mode()
    def predict(self, batch: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> np.ndarray:
        """Returns click probabilities."""
        return self.model(*batch).numpy()[:, 0]


if __name__ == "__main__":
    run_side(OfficialSide)
