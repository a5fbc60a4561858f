"""Worker: trains and evaluates with the official PyTorch GRU4Rec, and reports its throughput.

Runs in the peer's own environment, with its clone on PYTHONPATH.
"""

import contextlib
import io
import re
import resource
import time

import evaluation
import pandas as pd
import torch
from gru4rec_pytorch import GRU4Rec
from gru4rec_settings import Settings, report

LOSS_OPTIONS = {
    "cross_entropy": {"loss": "cross-entropy", "logq": 1.0, "dropout_p_embed": 0.1},
    "bpr_max": {"loss": "bpr-max", "bpreg": 1.0, "elu_param": 0.5},
}


def main() -> None:
    """Trains, then evaluates; the throughput is that of the last epoch, as the code prints it."""
    settings = Settings.from_command_line()
    torch.set_num_threads(settings.threads)
    train, test = (
        pd.read_csv(path, sep="\t", dtype={"ItemId": str})
        for path in (settings.train, settings.test)
    )
    model = GRU4Rec(
        device="cpu",
        layers=[settings.hidden],
        batch_size=settings.lanes,
        n_sample=settings.negatives,
        sample_alpha=0.75,
        learning_rate=0.1,
        n_epochs=settings.epochs,
        **LOSS_OPTIONS[settings.loss],
    )
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        model.fit(train, sample_cache_max_size=2_000_000)
        start = time.perf_counter()
        recall, mrr = evaluation.batch_eval(model, test, [20], 512, "conservative")
        evaluation_seconds = time.perf_counter() - start
    throughput = re.findall(r"\| (\d+) e/s\]", printed.getvalue())
    report(
        events_per_second=float(throughput[-1]),
        evaluation_seconds=evaluation_seconds,
        recall=float(recall[20]),
        mrr=float(mrr[20]),
        peak_megabytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


if __name__ == "__main__":
    main()
