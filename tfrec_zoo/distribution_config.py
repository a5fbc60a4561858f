"""On which devices and machines a run is trained."""

from dataclasses import dataclass

from tfrec_zoo.config import Config, option

STRATEGIES = ("default", "mirrored", "multi_worker", "parameter_server")


@dataclass(frozen=True, kw_only=True)
class DistributionConfig(Config):
    """The devices and machines that train together."""

    strategy: str = option(
        "default",
        "default: one device; mirrored: the devices of this machine in step; multi_worker: "
        "machines in step; parameter_server: workers on their own, tables shared out over servers.",
        choices=STRATEGIES,
        affects_result=False,
    )
    num_devices: int = option(
        0,
        "Devices of this machine, for mirrored: of a machine without GPUs, parts of its processor; "
        "0: all GPUs, or one for each core.",
        affects_result=False,
    )
    share_negatives: bool = option(
        True,
        "Replicas in step are parts of one batch, with all of its targets and negatives, so that "
        "their number changes nothing; no: each has a batch, negatives and examples of its own.",
    )
    tables_on_host: bool = option(
        False,
        "Tables, and what the optimizer keeps of them, lie in the memory of the host, which sends "
        "the rows of each step to the devices of mirrored or multi_worker: for tables that do not "
        "fit into a GPU. The host validates and exports, too.",
        affects_result=False,
    )
    shard_input: bool = option(
        False,
        "Each worker of multi_worker reads its own part of the --train files alone, for session "
        "logs that do not fit into the memory of one; needs --vocabulary and --noshare_negatives.",
    )
    max_shards: int = option(
        0,
        "Parts of a table, for parameter_server, at most; 0: one for each server.",
        affects_result=False,
    )
    min_shard_bytes: int = option(
        256 * 1024, "Parts of a table are at least as large.", affects_result=False
    )
    cluster_timeout: float = option(
        300.0, "Seconds to wait for the other tasks at the start.", affects_result=False
    )

    def __post_init__(self) -> None:
        """Refuses numbers without a meaning."""
        super().__post_init__()
        for name, least in (
            ("num_devices", 0),
            ("max_shards", 0),
            ("min_shard_bytes", 1),
            ("cluster_timeout", 1),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.num_devices and self.strategy != "mirrored":
            raise ValueError(
                f"num_devices={self.num_devices} belongs to strategy=mirrored, got "
                f"strategy={self.strategy}"
            )
        if not self.share_negatives and self.strategy == "parameter_server":
            raise ValueError(
                "share_negatives is about replicas in step, and under strategy=parameter_server "
                "each worker always has negatives of its own: leave it out"
            )
        if self.tables_on_host and not (
            self.strategy in ("mirrored", "multi_worker") and self.share_negatives
        ):
            raise ValueError(
                "tables_on_host needs replicas in step that are parts of one batch: "
                "strategy=mirrored (of one device with num_devices=1) or multi_worker, and "
                f"share_negatives; got strategy={self.strategy}, "
                f"share_negatives={self.share_negatives}"
            )
        if self.shard_input and (self.strategy != "multi_worker" or self.share_negatives):
            raise ValueError(
                "shard_input needs strategy=multi_worker and no share_negatives, for who reads a "
                "part of the data knows nothing of the targets of the others; got "
                f"strategy={self.strategy}, share_negatives={self.share_negatives}"
            )

    def refuse_optimizer(self, name: str) -> None:
        """Raises ValueError where an optimizer is one of Keras, which knows one device alone."""
        if self.strategy != "default" and name.startswith("keras:"):
            raise ValueError(
                f"optimizer={name} trains on one device alone, got strategy={self.strategy}: use "
                "adagrad, adam or another one of the zoo's own"
            )
