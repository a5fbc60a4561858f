"""What a DLRM network is made of; free of TensorFlow, so that flags are checked at once."""

from dataclasses import dataclass

from tfrec_zoo.config import Config, option

INTERACTIONS = ("dot", "cat", "dot_cat", "cross")
ACTIVATIONS = ("relu", "tanh", "elu", "selu", "gelu", "swish", "leaky_relu")
PRECISIONS = ("float32", "mixed_bfloat16")


@dataclass(frozen=True, kw_only=True)
class DLRMConfig(Config):
    """The network of DLRM (Naumov et al. 2019), with DCN-v2's cross layers as an interaction."""

    embedding_dim: int = option(
        16, "Width D in which features meet.", aliases=("arch_sparse_feature_size",)
    )
    bottom_mlp: tuple[int, ...] = option(
        (512, 256, 64, 16),
        "Units of the layers over the dense features; the last one is embedding_dim.",
        aliases=("dense_arch_layer_sizes",),
    )
    top_mlp: tuple[int, ...] = option(
        (512, 256, 1),
        "Units of the layers over the interactions; the last one is 1, the logit.",
        aliases=("over_arch_layer_sizes",),
    )
    interaction: str = option(
        "dot",
        "How features meet: dot, all pairs of vectors; cat, vectors side by side; dot_cat, both; "
        "cross, DCN-v2.",
        aliases=("arch_interaction_op",),
        choices=INTERACTIONS,
        value_aliases={"dcn": "cross"},
    )
    self_interaction: bool = option(
        False, "Each vector also meets itself (of dot).", aliases=("arch_interaction_itself",)
    )
    cross_layers: int = option(3, "Layers of interaction=cross.", aliases=("dcn_num_layers",))
    cross_rank: int = option(0, "Rank of their matrices; 0: full.", aliases=("dcn_low_rank_dim",))
    activation: str = option("relu", "Of hidden layers and of bottom_mlp's last.", (), ACTIVATIONS)
    mlp_dropout: float = option(0.0, "Dropout behind the hidden layers of top_mlp.")
    first_order: bool = option(
        False, "Each row also has a weight of its own in the logit (the wide part)."
    )
    weighted_pooling: bool = option(
        False, "Each row also learns a factor of its vector (DLRM's learned weighted pooling)."
    )
    table_dims: tuple[str, ...] = option(
        (), "Tables of a width of their own, projected to embedding_dim: C3:8,C12:4."
    )
    mixed_dim_temperature: float = option(
        0.0,
        "Widths by table size, D * (smallest / rows) ** this, rounded to powers of 2; 0: all D.",
        aliases=("md_temperature",),
    )
    qr_threshold: int = option(
        0, "Tables of more rows are split into quotient and remainder tables; 0: none."
    )
    qr_collisions: int = option(4, "Rows that share a row of the quotient table.")
    qr_operation: str = option(
        "mult",
        "How the two rows become one: mult, add, or concat (each of half the width).",
        choices=("mult", "add", "concat"),
    )
    click_rate_bias: bool = option(
        False, "The logit's bias starts at the log-odds of a click in the training data."
    )
    table_init_scale: float = option(
        0.0, "Rows start in U(-s, s) with this s; 0: sqrt(1 / rows), DLRM's."
    )
    precision: str = option(
        "float32",
        "Of the layers' products; weights, interactions and losses stay float32.",
        choices=PRECISIONS,
    )

    def __post_init__(self) -> None:
        """Refuses sizes and combinations without a meaning."""
        super().__post_init__()
        for name in ("embedding_dim", "cross_layers", "qr_collisions"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("cross_rank", "mixed_dim_temperature", "qr_threshold", "table_init_scale"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or positive, got {getattr(self, name)}")
        if not 0 <= self.mlp_dropout < 1:
            raise ValueError(f"mlp_dropout must be in [0, 1), got {self.mlp_dropout}")
        for name, last in (("bottom_mlp", self.embedding_dim), ("top_mlp", 1)):
            sizes = getattr(self, name)
            if not sizes or min(sizes) < 1 or sizes[-1] != last:
                raise ValueError(
                    f"{name} needs positive layer sizes that end in {last}"
                    f"{' (embedding_dim)' * (name == 'bottom_mlp')}, got {sizes}"
                )
        if self.self_interaction and not self.has_products:
            raise ValueError(f"self_interaction belongs to dot, got {self.interaction}")
        if self.qr_threshold and self.qr_operation == "concat" and self.embedding_dim % 2:
            raise ValueError(
                f"qr_operation=concat needs an even embedding_dim, got {self.embedding_dim}"
            )
        self.parse_table_dims()

    @property
    def has_products(self) -> bool:
        """Whether the products of pairs of vectors are computed."""
        return self.interaction in ("dot", "dot_cat")

    def parse_table_dims(self) -> dict[str, int]:
        """Returns `table_dims` as feature -> width; ValueError where an entry is none."""
        widths = {}
        for entry in self.table_dims:
            name, _, width = entry.rpartition(":")
            if not name or not width.isdecimal() or int(width) < 1 or name in widths:
                raise ValueError(
                    f"table_dims needs entries such as C3:8, each feature once, got {entry!r}"
                )
            widths[name] = int(width)
        return widths
