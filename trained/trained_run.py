"""A trained network, as its run left it, and the checks before photographs are shown to it."""

from data.lists import DataError
from networks import Classifier, build_network
from trained.checkpoint import CheckpointError, load_network_state, read_header


def load_classifier(checkpoint, net, **options):
    """The ``Classifier`` of a checkpoint with its weights: uint8 [N, 3, H, W] -> logits.

    ``net`` and ``options``: as the checkpoint's settings have them. Raises CheckpointError where it holds another network.
    """
    classifier = Classifier(build_network(net, len(read_header(checkpoint)["classes"]), **options))
    load_network_state(checkpoint, classifier)
    return classifier


def check_classes(trained, found, run, root) -> None:
    """Raise DataError, naming the difference, unless the data folder has the very classes that the run was trained on."""
    if list(trained) == list(found):
        return
    only_run, only_data = [c for c in trained if c not in found], [c for c in found if c not in trained]
    difference = f"only in the run: {', '.join(only_run) or 'none'}; only in the data: {', '.join(only_data) or 'none'}"
    if not only_run and not only_data:
        difference = "the same names in another order"
    raise DataError(f"{run} was trained on {len(trained)} classes, {root} has {len(found)} ({difference})")


def check_val_list(dataset, header, run, asked_for) -> bool:
    """Whether ``dataset`` has the list that the run was validated on; raises CheckpointError where it has another one that
    the user has not ``asked_for``."""
    same = dataset.digest() == header["list_sha256"]["val"]
    if not same and not asked_for:
        raise CheckpointError(
            f"{dataset.source} is not the list that {run} was validated on: it may hold photographs that the run was "
            f"trained on. Train anew, or say --data {dataset.data} to use it all the same"
        )
    return same
