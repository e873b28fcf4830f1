"""A trained network in the form in which other runtimes run it fast."""

from paddle import nn


def use_export_forms(network: nn.Layer) -> None:
    """Give ``network``, in evaluation mode, its export form: it computes the same, and cannot be trained any more.

    Every layer in it that has a method ``export_form`` is replaced by what that returns.
    """
    for name, layer in list(network.named_children()):
        if hasattr(layer, "export_form"):
            layer = layer.export_form()
            layer.eval()
            network.add_sublayer(name, layer)
        use_export_forms(layer)
