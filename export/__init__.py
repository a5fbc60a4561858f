"""From a checkpoint to a SavedModel and its item index, and the check of an export."""
