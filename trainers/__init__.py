"""The programs that prepare data, train and evaluate: flags in, a run folder out."""
