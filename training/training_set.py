"""The photographs that a training shows, as its settings say."""

import dataclasses

from config import Config
from data.data_sets import find_data, open_side
from data.photograph_dataset import PhotographDataset


def open_training_set(config: Config, may_download: bool = False) -> tuple[Config, PhotographDataset]:
    """``config`` with the defaults that follow from the number of photographs, and the data set of its training list.

    ``may_download``: see data_sets.find_data. Raises DataError.
    """
    config = dataclasses.replace(config, data=find_data(config.data_source(), may_download).data)
    size = config.train_size or config.image_size
    given = {name: value for name, value in config.part("view").items() if value is not None}
    train_set = open_side(config.data_source(), "train", seed=config.seed, **{**given, "image_size": size})
    config = config.resolved_for(len(train_set))
    train_set.crop_min_area = config.crop_min_area or train_set.crop_min_area  # known only now
    return config, train_set
