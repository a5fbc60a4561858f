"""What a GRU4Rec network is made of; free of TensorFlow, so that flags are checked at once."""

from dataclasses import dataclass

from tfrec_zoo.config import Config, option

ACTIVATIONS = ("tanh", "relu", "linear", "elu", "selu", "leaky_relu", "sigmoid", "gelu", "swish")
SCORE_ACTIVATIONS = ("linear", "elu", "relu", "tanh", "leaky_relu", "selu")


@dataclass(frozen=True, kw_only=True)
class GRU4RecConfig(Config):
    """The network of GRU4Rec (formulas: Hidasi et al. 2016 and 2018).

    The input of the first layer is, by `input_mode`,

    - `tied`: the item's row of the output table (`tie_embeddings`, the default and the best known);
    - `separate`: its row of an input table of its own (`embedding_dim` > 0);
    - `one_hot`: a one-hot vector, so that the first layer's input matrix is itself a table of rows.
    """

    hidden_dims: tuple[int, ...] = option((100,), "Units of each GRU layer.", aliases=("layers",))
    tie_embeddings: bool = option(
        True, "One table for input and output items.", aliases=("constrained_embedding",)
    )
    embedding_dim: int = option(
        0, "Width of a separate input table; 0: none (untied: one-hot input).", ("embedding",)
    )
    hidden_activation: str = option(
        "tanh", "Activation of the candidate state.", ("hidden_act",), choices=ACTIVATIONS
    )
    score_activation: str = option(
        "linear",
        "Activation of the scores, for the pairwise losses (the softmax is inside cross_entropy).",
        ("final_act",),
        choices=SCORE_ACTIVATIONS,
    )
    elu_alpha: float = option(0.5, "Scale of score_activation=elu below 0.")
    dropout_embedding: float = option(
        0.0, "Dropout of the input vector.", aliases=("dropout_p_embed",)
    )
    dropout_hidden: float = option(
        0.0, "Dropout of each layer's new state, which is carried on.", ("dropout_p_hidden",)
    )
    use_item_bias: bool = option(True, "A learned bias for each item.")
    init_scale: float = option(
        0.0, "Half width or standard deviation of the initial weights; 0: Glorot.", ("sigma",)
    )
    init_distribution: str = option(
        "uniform", "Distribution of the initial weights.", choices=("uniform", "normal")
    )

    def __post_init__(self) -> None:
        """Refuses what cannot be built."""
        super().__post_init__()
        if not self.hidden_dims or min(self.hidden_dims) < 1:
            raise ValueError(f"hidden_dims needs positive layer sizes, got {self.hidden_dims}")
        if self.embedding_dim < 0:
            raise ValueError(f"embedding_dim must be 0 or positive, got {self.embedding_dim}")
        if self.tie_embeddings and self.embedding_dim:
            raise ValueError(
                f"embedding_dim={self.embedding_dim} asks for a separate input table, but "
                "tie_embeddings is on: pass --notie_embeddings, or leave embedding_dim at 0"
            )
        for name in ("dropout_embedding", "dropout_hidden"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        if self.dropout_embedding and self.input_mode == "one_hot":
            raise ValueError(
                "dropout_embedding needs an embedding, and one-hot input has none: use "
                "dropout_hidden, tie_embeddings or an embedding_dim"
            )
        if self.elu_alpha < 0:
            raise ValueError(f"elu_alpha must be 0 or positive, got {self.elu_alpha}")
        if self.init_scale < 0:
            raise ValueError(f"init_scale must be 0 or positive, got {self.init_scale}")

    @property
    def input_mode(self) -> str:
        """`tied`, `separate` or `one_hot`."""
        if self.tie_embeddings:
            return "tied"
        return "separate" if self.embedding_dim else "one_hot"
