"""A client of TensorFlow Serving."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfrec_zoo.serving.answers import (
    DEFAULT_SIGNATURE,
    Recommendations,
    Signature,
    Steps,
    Target,
)
from tfrec_zoo.serving.errors import INVALID_ARGUMENT, ServingError
from tfrec_zoo.serving.inputs import as_ids, as_numbers, as_texts, has_texts, pad_items
from tfrec_zoo.serving.server import Server
from tfrec_zoo.serving.tensors import decode_text


class Client:
    """Asks the models of one TensorFlow Serving, by REST or by gRPC; threads may share it.

    A request names a model, and with `version` or `label` one of its versions; with neither it is
    to the newest. What a server does not answer is a `ServingError`. Connections are kept open
    until `close`, or the end of a `with` block.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 5.0,
        retries: int = 4,
        headers: Mapping[str, str] | None = None,
        row_format: bool = False,
    ) -> None:
        """Takes the address of the server; it is not asked for anything yet.

        Args:
            url: `http://host:8501` or `https://...` for REST, where a path may follow that comes
                before `/v1/models`; `grpc://host:8500` or `host:8500` for gRPC, `grpcs://...` with
                TLS.
            timeout: seconds that a call may take, all attempts and the waits between them.
            retries: how often a call is repeated while the server is unavailable: nobody listens,
                it breaks the connection off, or says so (503, UNAVAILABLE). Other errors are
                raised at once.
            headers: sent with each request, for example of a gateway's authorization.
            row_format: by REST, send and read rows (`instances`, `predictions`) in place of
                columns (`inputs`, `outputs`), for servers that know only these.

        Raises:
            ValueError: an argument makes no sense.
        """
        self._server = Server(url, timeout, retries, headers or {}, row_format)
        self._state_widths: dict[Target, list[int]] = {}

    def __enter__(self) -> "Client":
        """Returns itself."""
        return self

    def __exit__(self, *error: Any) -> None:
        """Closes the connections."""
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._server.close()

    def predict(
        self,
        model: str,
        inputs: Mapping[str, Any],
        signature_name: str = DEFAULT_SIGNATURE,
        *,
        version: int | None = None,
        label: str | None = None,
    ) -> dict[str, np.ndarray]:
        """Asks any signature of any model.

        Args:
            model: its name in the server.
            inputs: arrays by name, sent with their types; or lists, whose numbers are sent as
                float32 and int32 and whose texts may be `str` or `bytes`. By REST the server takes
                numbers for the type that the signature has.
            signature_name: of the signature.
            version: number of the version.
            label: or its label.

        Returns:
            Arrays by name. Texts are `bytes` objects. By gRPC numbers have the types that the
            server says; by REST, which does not say them, those with a point are float32 and
            others int64.

        Raises:
            ServingError: there is no answer.
            ValueError: the inputs cannot be sent.
        """
        return self._server.predict(Target(model, version, label), signature_name, inputs)

    def signatures(
        self, model: str, *, version: int | None = None, label: str | None = None
    ) -> dict[str, Signature]:
        """Returns the signatures of a model by name, with types and shapes of what they take.

        Raises:
            ServingError: there is no answer.
        """
        return self._server.describe(Target(model, version, label))

    def recommend(
        self,
        model: str,
        sessions: Sequence[Sequence[Any]],
        *,
        exclude: Sequence[Sequence[Any]] | None = None,
        include: Sequence[Sequence[Any]] | None = None,
        dense: Sequence[Sequence[Any]] | None = None,
        sparse: Sequence[Sequence[Any]] | None = None,
        version: int | None = None,
        label: str | None = None,
    ) -> Recommendations:
        """Recommends the next items of sessions: GRU4Rec, SSR and cascades.

        Args:
            model: its name in the server.
            sessions: item ids of each session, oldest first: `str`, `bytes` or integers.
            exclude: for each session, ids not to be answered.
            include: for each session, the only ids that may be answered (SSR).
            dense: of a cascade, each request's raw numbers, None or NaN for a missing one.
            sparse: of a cascade, each request's raw texts, None or "" for a missing one.
            version: number of the version.
            label: or its label.

        Raises:
            ServingError: there is no answer.
            ValueError: the arguments are of another form, or `exclude` and `include` are given.
        """
        if exclude is not None and include is not None:
            raise ValueError("a request excludes items or names the only ones, not both")
        inputs, signature = {"session_items": pad_items(sessions, "sessions")}, "recommend"
        for name, ids in (("exclude", exclude), ("include", include)):
            if ids is not None:
                if len(ids) != len(sessions):
                    raise ValueError(f"{name} has {len(ids)} lists for {len(sessions)} sessions")
                inputs[f"{name}_items"] = pad_items(ids, name)
                signature = f"recommend_{name.removesuffix('e')}ing"
        if dense is not None:
            inputs["dense"] = as_numbers(dense, "dense")
        if sparse is not None:
            inputs["sparse"] = as_texts(sparse, "sparse")
        outputs = self._server.predict(
            Target(model, version, label), signature, inputs, ["items", "scores"]
        )
        return Recommendations(*_read_items(outputs))

    def step(
        self,
        model: str,
        items: Sequence[Any],
        states: Sequence[np.ndarray] | None = None,
        *,
        version: int | None = None,
        label: str | None = None,
    ) -> Steps:
        """Takes one click of each session and recommends the next items: GRU4Rec.

        Args:
            model: its name in the server.
            items: the item id of each session.
            states: those of the answer to the sessions' clicks before; None: these are the first,
                whose states are zeros. How many numbers a state has, the server is asked for once.
            version: number of the version. States belong to the version that has answered them.
            label: or its label.

        Raises:
            ServingError: there is no answer.
            ValueError: the arguments are of another form.
        """
        target, ids = Target(model, version, label), as_ids(items, "items")
        if states is not None:
            return self._step(target, ids, states)
        known = self._state_widths.get(target)
        widths = known or self._find_state_widths(target)
        try:
            return self._step(target, ids, _zeros(ids, widths))
        except ServingError as error:
            # A new version of the model may have other states than the one that was asked.
            if error.status != INVALID_ARGUMENT or not known:
                raise
            widths = self._find_state_widths(target)
            if widths == known:
                raise
        return self._step(target, ids, _zeros(ids, widths))

    def click_probabilities(
        self,
        model: str,
        *,
        dense: Sequence[Sequence[Any]] | None = None,
        sparse: Sequence[Sequence[Any]] | None = None,
        version: int | None = None,
        label: str | None = None,
    ) -> np.ndarray:
        """Predicts clicks: DLRM. The columns stand in `export` of the version's config.json.

        Args:
            model: its name in the server.
            dense: raw numbers of each example, None or NaN for a missing one; or the texts that a
                log has for them.
            sparse: raw texts of each example, None or "" for a missing one.
            version: number of the version.
            label: or its label.

        Returns:
            float32 [B].

        Raises:
            ServingError: there is no answer.
            ValueError: the arguments are of another form.
        """
        inputs: dict[str, np.ndarray] = {}
        signature = "predict"
        if dense is not None:
            if has_texts(dense):
                inputs["dense_text"], signature = as_texts(dense, "dense"), "predict_text"
            else:
                inputs["dense"] = as_numbers(dense, "dense")
        if sparse is not None:
            inputs["sparse"] = as_texts(sparse, "sparse")
        _require_inputs(inputs, "dense and sparse")
        name = "click_probability"
        target = Target(model, version, label)
        return _as_float32(self._server.predict(target, signature, inputs, [name])[name])

    def embed_sessions(
        self,
        model: str,
        sessions: Sequence[Sequence[Any]],
        *,
        version: int | None = None,
        label: str | None = None,
    ) -> np.ndarray:
        """Returns the vectors of sessions, float32 [B, D]: SSR. Arguments as of `recommend`.

        Raises:
            ServingError: there is no answer.
            ValueError: the arguments are of another form.
        """
        inputs, name = {"session_items": pad_items(sessions, "sessions")}, "session_vector"
        target = Target(model, version, label)
        return _as_float32(self._server.predict(target, "embed_session", inputs, [name])[name])

    def embed_items(
        self,
        model: str,
        *,
        dense: Sequence[Sequence[Any]] | None = None,
        sparse: Sequence[Sequence[Any]] | None = None,
        vectors: Sequence[Sequence[Any]] | None = None,
        ages: Sequence[Any] | None = None,
        version: int | None = None,
        label: str | None = None,
    ) -> np.ndarray:
        """Returns the vectors of items by their content, float32 [B, D]: SSR.

        Args:
            model: its name in the server.
            dense: raw numbers of each item, None or NaN for a missing one.
            sparse: raw texts of each item, None or "" for a missing one.
            vectors: ready-made vectors of each item, one behind the other.
            ages: of each item, None for one that is not known; for a model with `age_buckets`.
            version: number of the version.
            label: or its label.

        Raises:
            ServingError: there is no answer.
            ValueError: the arguments are of another form.
        """
        inputs = {}
        for what, values in (("dense", dense), ("vectors", vectors)):
            if values is not None:
                inputs[what] = as_numbers(values, what)
        if sparse is not None:
            inputs["sparse"] = as_texts(sparse, "sparse")
        _require_inputs(inputs, "dense, sparse and vectors")
        if ages is not None:
            inputs["ages"] = as_numbers(ages, "ages", num_dims=1)
        name, target = "item_vector", Target(model, version, label)
        return _as_float32(self._server.predict(target, "embed_items", inputs, [name])[name])

    def _find_state_widths(self, target: Target) -> list[int]:
        """Returns H_i of each layer, asked from the server."""
        signature = self._server.describe(target).get("step")
        widths = []
        while signature and f"state_{len(widths)}" in signature.inputs:
            widths.append(signature.inputs[f"state_{len(widths)}"].sizes[-1])
        if not widths:
            raise ServingError(INVALID_ARGUMENT, "there is no signature step", str(target))
        self._state_widths[target] = widths
        return widths

    def _step(self, target: Target, ids: np.ndarray, states: Sequence[np.ndarray]) -> Steps:
        given = {f"state_{layer}": as_numbers(h, "a state") for layer, h in enumerate(states)}
        names = [f"next_{name}" for name in given]
        outputs = self._server.predict(
            target, "step", {"item": ids, **given}, ["items", "scores", *names]
        )
        return Steps(*_read_items(outputs), tuple(_as_float32(outputs[name]) for name in names))


def _zeros(ids: np.ndarray, widths: Sequence[int]) -> list[np.ndarray]:
    return [np.zeros((len(ids), width), np.float32) for width in widths]


def _read_items(outputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    items = np.vectorize(decode_text, otypes=[object])(outputs["items"])
    return items, _as_float32(outputs["scores"])


def _as_float32(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32, copy=False)


def _require_inputs(inputs: Mapping[str, np.ndarray], names: str) -> None:
    if not inputs:
        raise ValueError(f"there is nothing to ask about: pass what the model takes of {names}")
