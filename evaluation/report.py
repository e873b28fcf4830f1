"""What an evaluation leaves in ``eval/``: metrics.json, confusion_matrix.png and .csv, predictions.csv."""

import json

from evaluation.scores import confusion_matrix, per_class, top_k_accuracy
from machine.whole_file import write_csv, write_text
from plots.figures import draw_confusion_matrix


def write_evaluation(run, dataset, probabilities, labels, loss, acc, net, epoch, same_list):
    """Write ``run/eval/`` and return it.

    ``probabilities``: [N, C], ``labels``: [N], in the order of ``dataset.samples``. metrics.json holds loss, acc, acc_top5
    (more than five classes), per_class (precision, recall, f1, support) and what was evaluated; ``same_list``: whether that is
    the list the run was validated on while training; ``epoch``: whose weights these are. metrics.json is written last: where
    it is, the rest is of the same evaluation.
    """
    classes = dataset.classes
    predictions = probabilities.argmax(axis=1)
    matrix = confusion_matrix(labels, predictions, len(classes))
    metrics = {"loss": loss, "acc": acc}
    if len(classes) > 5:
        metrics["acc_top5"] = top_k_accuracy(probabilities, labels, 5)
    metrics.update(per_class=per_class(matrix, classes), photographs=len(labels), list=dataset.source)
    metrics.update(epoch=epoch, same_list_as_in_training=same_list)
    folder = run / "eval"
    folder.mkdir(exist_ok=True)
    (folder / "metrics.json").unlink(missing_ok=True)
    write_csv(folder / "confusion_matrix.csv", ["true class", *classes], ([n, *r] for n, r in zip(classes, matrix.tolist())))
    rows = (
        (sample.name, classes[label], classes[guess], f"{float(row[guess]):.6f}")
        for sample, label, guess, row in zip(dataset.samples, labels, predictions, probabilities)
    )
    write_csv(folder / "predictions.csv", ["path", "label", "prediction", "confidence"], rows)
    title = f"{net}: accuracy {acc:.4f} on {len(labels)} photographs"
    draw_confusion_matrix(matrix, classes, folder / "confusion_matrix.png", title)
    write_text(folder / "metrics.json", json.dumps(metrics, indent=2, ensure_ascii=False) + "\n")
    return folder
