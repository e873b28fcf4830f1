"""The rows of a training's epochs."""


def best_epoch(history: list) -> dict:
    """The row of highest validation accuracy; of lower validation loss where those are equal; the first where both are."""
    return max(history, key=lambda row: (row["val_acc"], -row["val_loss"]))
