"""The readers of foreign files by name; each maker takes a folder that the reader may write into."""

import checkpoint_reader
import cifar_reader
import list_reader
import photo_archive_reader
import recipe_reader
import run_readers
import table_reader
import tuning_reader
import weights_reader

READERS = {
    "lists": list_reader.reader,
    "recipes": recipe_reader.reader,
    "checkpoints": checkpoint_reader.reader,
    "pickles": cifar_reader.pickle_reader,
    "archives": cifar_reader.archive_reader,
    "weights": weights_reader.reader,
    "tables": table_reader.reader,
    "photo_archives": photo_archive_reader.reader,
    "results": run_readers.results,
    "metrics": run_readers.metrics,
    "histories": run_readers.histories,
    "predictions": run_readers.predictions,
    "class_lists": run_readers.class_lists,
    "searches": tuning_reader.reader,
}
