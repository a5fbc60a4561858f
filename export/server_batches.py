"""Requests as TensorFlow Serving computes them together, with what it fills them up by.

It has been read in batching/batching_util.cc and batching/batching_session.cc of
https://github.com/tensorflow/serving: a request whose tensor is shorter than that of another one is
filled up with the first element of its own tensor, at the ends of all its rows, and a batch that
must be larger with copies of the first row of its last request.
"""

from collections.abc import Mapping, Sequence

import numpy as np

Inputs = Mapping[str, np.ndarray]


def merge_requests(requests: Sequence[Inputs], num_rows: int = 0) -> dict[str, np.ndarray]:
    """Returns the inputs of one batch of several requests to one signature.

    Args:
        requests: the inputs of each by name, [B, ...].
        num_rows: of the batch, copies of a row included; 0: as many as the requests have.
    """
    merged = {}
    for name in requests[0]:
        tensors = [request[name] for request in requests]
        longest = np.max([tensor.shape[1:] for tensor in tensors], axis=0).astype(int)
        filled = [_fill_up(tensor, longest) for tensor in tensors]
        num_copies = max(0, num_rows - sum(map(len, tensors)))
        copies = np.repeat(filled[-1][:1], num_copies, axis=0)
        merged[name] = np.concatenate([*filled, copies])
    return merged


def split_answer(
    answer: Mapping[str, np.ndarray], requests: Sequence[Inputs]
) -> list[dict[str, np.ndarray]]:
    """Returns what each request gets of the answer to their batch."""
    sizes = [len(next(iter(request.values()))) for request in requests]
    ends = np.cumsum(sizes)
    return [
        {name: values[end - size : end] for name, values in answer.items()}
        for size, end in zip(sizes, ends, strict=True)
    ]


def _fill_up(tensor: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Returns a tensor [B, ...] as [B, *shape], its first element behind its own ones."""
    missing = [
        (0, 0),
        *((0, size - own) for size, own in zip(shape, tensor.shape[1:], strict=True)),
    ]
    if not np.any(missing):
        return tensor
    if not tensor.size:
        raise ValueError('the server refuses an empty tensor among others: send a "" in its place')
    return np.pad(tensor, missing, constant_values=tensor.flat[0])
