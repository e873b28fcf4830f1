"""Every setting of the toolkit, once: name, type, default, help, allowed values, and what it affects.

A setting's value comes from its default, then from the recipe (``--config FILE.yaml``), then from the command line; the
later one wins. ``python train.py --help`` lists the settings that a script reads; docs/settings.md lists all. settings/ reads
and checks them. Nothing here imports Paddle, so that ``--help`` and a mistyped flag answer at once.
"""

import dataclasses
import re
from collections.abc import Iterable, Sequence
from dataclasses import Field, dataclass, field
from pathlib import Path
from typing import Any, Optional, Union

from attention import ATTENTIONS
from data import DATASETS
from data.data_source import DataSource
from data.paddlex import LIST_FORMATS
from machine.processor import default_threads, reading_processes
from networks import IMAGENET_MEAN, IMAGENET_STD, LAYOUTS, NETWORKS, WITHOUT_NORM, depth_of, options_of
from settings import command_line
from settings.declaration import ConfigError, check_value, has_effect, is_lower, known_values, setting, settings_of
from settings.recipe import read_run_settings
from settings.training_defaults import NAMES as DEFAULTS_BY_RULE
from settings.training_defaults import Situation, training_defaults

SCRIPTS = (
    "sample_animals", "train_val_split", "show_photographs", "train", "tune", "eval", "compare", "gradcam", "predict", "export",
    "serve", "suspects", "surgery",
)  # fmt: skip
FORMAT = 2  # of a run's config.yaml; format 1 lacks the number and is otherwise the same
MAX_SEED = 2**31 - 1
MOST_PARALLEL = 1024
SMALL_BATCH = 16
"""With fewer photographs of a batch in each process, batch norm takes the statistics of all unless the user decides."""
BY_RULE = "follows from photographs, epochs and network: see docs/recipes.md"


@dataclass(frozen=True)
class Config:
    """All settings of one invocation, checked. Immutable; ``dataclasses.replace`` makes a changed copy."""

    # fmt: off
    dataset: str = setting(
        "folder", "a folder of class folders, or CIFAR-10, which comes split",
        choices=tuple(DATASETS), group="data", part="data", affects="result", scripts="train compare show_photographs")
    data: str = setting(
        "work/dataset", "folder that holds the class folders and the lists, or a .zip, .tar.gz, .tgz or .tar of it; for "
                        "CIFAR-10 cifar-10-python.tar.gz or its folder, which Paddle downloads by default",
        metavar="PATH",
        group="data", part="data", affects="place",
        scripts="sample_animals train_val_split show_photographs train eval compare gradcam export suspects surgery",
        inherited_by="eval gradcam export")
    follow_links: bool = setting(
        False, "also use photographs outside the data folder if links or lists lead to them",
        group="data", part="data", affects="place",
        scripts="train_val_split show_photographs train eval compare gradcam export suspects surgery", is_permission=True)
    lists_dir: Optional[str] = setting(
        None, "folder of the lists, where they do not lie in the data folder, such as one that cannot be written",
        metavar="FOLDER", default_text="the data folder",
        group="data", part="data", affects="place",
        scripts="train_val_split show_photographs train eval compare gradcam export suspects surgery",
        inherited_by="eval gradcam export", belongs_to="data")
    fold: int = setting(
        0, "train on the lists of this fold of train_val_split.py --folds, from 1; a run remembers it (0: the plain lists)",
        low=0, high=20, group="data", part="data", affects="result",
        scripts="train eval gradcam export", inherited_by="eval gradcam export")
    folds: int = setting(
        0, "divide the photographs, except those to test on, into so many folds as well: each is the validation list of one "
           "training, the others are its training list; compare.py trains each network on each fold (0: no folds)",
        low=0, high=20, group="data", part="split", affects="result", scripts="train_val_split compare")
    per_class: int = setting(
        40, "pictures to draw for each class",
        low=2, high=100_000, group="data", part="drawing", affects="result", scripts="sample_animals")
    val_fraction: float = setting(
        0.2, "share of each class that goes to the validation list",
        above=0.0, high=0.9, group="data", part="split", affects="result", scripts="train_val_split")
    max_per_class: Optional[int] = setting(
        None, "use at most this many photographs of each class",
        default_text="all", low=2, group="data", part="split", affects="result", scripts="train_val_split")
    test_fraction: float = setting(
        0.0, "share of each class that goes to test_list.txt, for a final figure: neither training nor the choice of an epoch "
             "uses it",
        low=0.0, high=0.9, group="data", part="split", affects="result", scripts="train_val_split")
    resplit: bool = setting(
        False, "split all photographs anew where folders such as train, val and test split them already",
        group="data", part="split", affects="result", scripts="train_val_split")
    labels: Optional[str] = setting(
        None, "CSV or text file that names the class of each photograph, where they lie in no class folders",
        metavar="FILE", default_text="the names of the class folders",
        group="data", part="split", affects="result", scripts="train_val_split")
    file_column: Optional[str] = setting(
        None, "column of --labels that names the photographs", metavar="NAME", default_text="guessed",
        group="data", part="split", affects="result", scripts="train_val_split")
    label_column: Optional[str] = setting(
        None, "column of --labels that holds the class", metavar="NAME", default_text="guessed, also one column for each class",
        group="data", part="split", affects="result", scripts="train_val_split")
    overwrite: bool = setting(
        False, "replace lists that this toolkit did not write, and keep the old ones as NAME.old",
        group="data", part="split", affects="nothing", scripts="train_val_split")
    list_format: str = setting(
        "paddleclas", "lists to write: train_list.txt, val_list.txt and labels.txt, which PaddleClas reads too; with paddlex3 "
                      "also train.txt, val.txt and label.txt",
        choices=LIST_FORMATS, group="data", part="split", affects="nothing", scripts="train_val_split")
    image_size: int = setting(
        224, "side of the square image that the network sees, in pixels",
        low=8, high=4096, group="data", part="view", affects="result", scripts="train compare show_photographs")
    train_crop: str = setting(
        "random", "what the network sees of a photograph in training: a random part, the whole resized to a square, or the "
                  "whole in its own proportions, with grey bars beside it",
        choices=("random", "resize", "letterbox"),
        group="data", part="view", affects="result", scripts="train compare show_photographs")
    eval_crop: str = setting(
        "center", "what the network sees of a photograph in evaluation: the center, the whole resized to a square, or the "
                  "whole in its own proportions, with grey bars beside it",
        choices=("center", "resize", "letterbox"), group="data", part="view", affects="result", scripts="train compare")
    crop_min_area: Optional[float] = setting(
        None, "smallest share of a photograph's area that a random crop covers",
        default_text=BY_RULE, before=0.08, above=0.0, high=1.0, needs=("train_crop", "random"),
        group="data", part="view", affects="result", scripts="train compare show_photographs")
    flip: bool = setting(
        False, "mirror training photographs with probability 0.5",
        before=True, group="data", part="view", affects="result", scripts="train compare show_photographs")
    rotation: float = setting(
        0.0, "rotate training photographs by up to this many degrees, either way",
        low=0, high=180, group="data", part="view", affects="result", scripts="train compare show_photographs")
    augment: str = setting(
        "none", "further augmentation of training photographs: trivialaugment changes each in one way, of random strength",
        choices=("none", "trivialaugment"),
        group="data", part="view", affects="result", scripts="train compare show_photographs")
    color_jitter: float = setting(
        0.0, "change brightness, contrast and saturation of training photographs by factors from 1 - this to 1 + this",
        low=0.0, high=1.0, group="data", part="view", affects="result", scripts="train compare show_photographs")
    erasing: float = setting(
        0.0, "erase a random rectangle of a training photograph with this probability",
        low=0.0, high=1.0, group="data", part="view", affects="result", scripts="train compare show_photographs")
    train_size: Optional[int] = setting(
        None, "side of the square image in training, where it differs from --image_size, that of evaluation",
        default_text="--image_size", low=8, high=4096,
        group="data", part="size", affects="result", scripts="train compare show_photographs")
    progressive: float = setting(
        1.0, "begin training with images of this share of their size, and let them grow to the full size over the first 80% of "
             "the epochs (1: full size throughout)",
        low=0.1, high=1.0, group="data", part="size", affects="result", scripts="train compare")
    mean: tuple[float, ...] = setting(
        IMAGENET_MEAN, "mean to subtract from red, green and blue, as fractions of full brightness",
        low=0, high=1, length=3, default_text="ImageNet's",
        group="data", part="normalization", affects="result", scripts="train compare")
    std: tuple[float, ...] = setting(
        IMAGENET_STD, "standard deviation to divide red, green and blue by after that",
        above=0, high=1, length=3, default_text="ImageNet's",
        group="data", part="normalization", affects="result", scripts="train compare")
    split: str = setting(
        "val", "list to evaluate on: the validation list, by which training chose the best epoch, or the test list, which "
               "training never reads",
        choices=("val", "test"),
        default_text="val; test where compare.py trains, or surgery.py judges, and there is a test list",
        group="data", part="evaluation", affects="nothing", scripts="eval compare surgery")
    strangers: Optional[str] = setting(
        None, "folder of photographs that show none of the classes: how many of them are taken for one",
        metavar="FOLDER", default_text="none",
        group="data", part="evaluation", affects="nothing", scripts="eval")
    images: Optional[tuple[str, ...]] = setting(
        None, "photographs to explain or predict, or folders of them; predict.py reads paths from - (a pipe)",
        metavar="FILE", default_text="gradcam.py: the validation list",
        group="data", part="explanation", affects="nothing", scripts="gradcam predict")
    augmented: bool = setting(
        False, "show some photographs as a training sees them in its first epochs: cropped, augmented and mixed",
        group="data", part="explanation", affects="nothing", scripts="show_photographs")
    sample: int = setting(
        16, "explain at most this many photographs, chosen at random",
        low=1, high=200, group="data", part="explanation", affects="nothing", scripts="gradcam")

    net: str = setting(
        "sa_resnet", "network",
        default_text="sa_resnet; surgery.py: resnet", choices=tuple(NETWORKS), group="network", part="start", affects="result",
        scripts="train tune eval gradcam predict export serve suspects surgery")
    nets: tuple[str, ...] = setting(
        ("sa_resnet", "resnet"), "networks to compare; compare.py trains those that are not trained yet",
        default_text="sa_resnet resnet; one network with gradcam.py and serve.py", choices=tuple(NETWORKS),
        group="network", part="comparison", affects="nothing", scripts="compare gradcam serve")
    attention: Optional[str] = setting(
        None, "attention layer in every block of a resnet or of tower_net",
        choices=("none", *ATTENTIONS), default_text="the network's own",
        group="network", part="network", affects="result", scripts="train tune")
    blocks: Optional[tuple[str, ...]] = setting(
        None, "attention layers to insert into a trained ResNet, each into each of its stages",
        choices=tuple(ATTENTIONS), default_text="those with an exact start: shuffle sge",
        group="network", part="surgery", affects="nothing", scripts="surgery")
    attention_stages: Optional[tuple[int, ...]] = setting(
        None, "only the blocks of these of a ResNet's four stages have the attention layer, as in 3 4",
        low=1, high=4, default_text="all", group="network", part="network", affects="result", scripts="train tune")
    sa_groups: Optional[int] = setting(
        None, "groups of Shuffle Attention",
        low=1, default_text="64, as published; surgery.py: 32 where 64 does not fit",
        group="network", part="network", affects="result", scripts="train tune surgery")
    sa_gate: Optional[str] = setting(
        None, "gate of Shuffle Attention: one weight and one bias per channel, as published, or a 1x1 convolution over the "
              "channels of a group",
        default_text="scale", choices=("scale", "conv"),
        group="network", part="network", affects="result", scripts="train tune")
    e_lambda: Optional[float] = setting(
        None, "lambda of SimAM",
        above=0.0, default_text="0.0001, as published; the authors use 0.1 for ImageNet",
        group="network", part="network", affects="result", scripts="train tune")
    eca_kernel_sizes: Optional[tuple[int, ...]] = setting(
        None, "kernel sizes of Efficient Channel Attention in the four stages, odd; published weights have 3 5 7 7 "
              "(ResNet-18), 3 3 5 7 (34, 101, 152) or 3 5 5 7 (50)",
        low=1, high=99, length=4, default_text="those of the file that --init_from names; else they follow from the channels",
        group="network", part="network", affects="result", scripts="train tune")
    earlier_attention: bool = setting(
        False, "compute SGE's deviation and CBAM's running statistics as runs from before this setting did",
        before=True, group="network", part="network", affects="result", scripts="train tune")
    zero_init_residual: Optional[bool] = setting(
        None, "start each residual block as the identity (its last batch norm has weight zero), which helps short "
               "trainings",
        default_text=BY_RULE, before=False, group="network", part="network", affects="result", scripts="train compare")
    init_from: Optional[str] = setting(
        None, "start from the weights in this file: PyTorch's .pth, Paddle's .pdparams or .safetensors, such as a run's",
        metavar="FILE", default_text="weights drawn at random",
        group="network", part="start", affects="result", scripts="train compare")
    allow_partial: bool = setting(
        False, "start from the file of --init_from even if more than a tenth of what the network learns is not in it",
        group="network", part="start", affects="result", scripts="train compare")
    pretrained: bool = setting(
        False, "start from Paddle's ImageNet weights, downloaded once: the ResNets with any attention, vgg19, mobilenet_v2",
        group="network", part="start", affects="result", scripts="train compare")
    freeze: int = setting(
        0, "with --init_from or --pretrained: keep the network's first so many stages as they start; 1 is the stem and the "
           "first stage (0: train all)",
        low=0, high=100, group="network", part="start", affects="result", scripts="train compare")
    summary: bool = setting(
        False, "print the network's parameters and multiply-adds, then stop",
        group="network", part="training", affects="nothing", scripts="train")

    epochs: int = setting(
        100, "passes over the training list",
        low=1, may_grow=True, group="training", part="training", affects="result", scripts="train compare")
    gate_epochs: int = setting(
        4, "passes over the training list to train the gates of an inserted layer, everything else being frozen",
        low=0, high=10_000, group="training", part="surgery", affects="nothing", scripts="surgery")
    batch_size: int = setting(
        32, "photographs in a batch",
        low=1, group="training", part="training", affects="result", scripts="train eval compare predict serve suspects surgery",
        inherited_by="eval predict suspects surgery")
    accumulate: int = setting(
        1, "add up the gradients of so many batches before each update of the weights, as if the batch were so much larger; a "
           "step of the learning rate is such an update",
        low=1, high=100_000, group="training", part="training", affects="result", scripts="train compare")
    optimizer: Optional[str] = setting(
        None, "SGD with momentum, Adam or AdamW",
        default_text=BY_RULE, before="momentum", choices=("momentum", "adam", "adamw"),
        group="training", part="optimizer", affects="result", scripts="train compare")
    learning_rate: Optional[float] = setting(
        None, "peak learning rate",
        above=0.0, default_text=BY_RULE,
        group="training", part="optimizer", affects="result", scripts="train compare")
    momentum: float = setting(
        0.9, "momentum of SGD",
        low=0.0, high=0.9999, needs=("optimizer", "momentum"),
        group="training", part="optimizer", affects="result", scripts="train compare")
    weight_decay: Optional[float] = setting(
        None, "L2 decay; decoupled with adamw",
        default_text=BY_RULE, before=1e-4, low=0.0, high=1.0,
        group="training", part="optimizer", affects="result", scripts="train compare")
    decay_norm_and_bias: bool = setting(
        False, "apply weight decay to biases and to batch norm, group norm and attention gates as well",
        before=True, group="training", part="optimizer", affects="result", scripts="train compare")
    head_lr: Optional[float] = setting(
        None, "peak learning rate of the last layer, which is new where training starts from the weights of other classes",
        above=0.0, default_text="--learning_rate",
        group="training", part="optimizer", affects="result", scripts="train compare")
    clip_norm: float = setting(
        0.0, "shorten the gradient of all weights together to at most this length (0: never)",
        low=0.0, group="training", part="training", affects="result", scripts="train compare")
    schedule: str = setting(
        "cosine", "learning rate over time: a cosine to zero, updated at every step or every epoch; steps; or constant",
        choices=("cosine", "cosine_by_epoch", "step", "constant"),
        group="training", part="schedule", affects="result", scripts="train compare")
    warmup_epochs: Optional[float] = setting(
        None, "epochs over which the learning rate rises from zero",
        default_text=BY_RULE, low=0.0,
        group="training", part="schedule", affects="result", scripts="train compare")
    step_epochs: int = setting(
        30, "with --schedule step: epochs between two steps",
        low=1, needs=("schedule", "step"), group="training", part="schedule", affects="result", scripts="train compare")
    step_gamma: float = setting(
        0.1, "with --schedule step: factor that each step multiplies the learning rate by",
        above=0.0, high=1.0, needs=("schedule", "step"),
        group="training", part="schedule", affects="result", scripts="train compare")
    loss: str = setting(
        "cross_entropy", "training loss: cross-entropy; cosine, which is 1 - cosine similarity of output and class, plus a "
                         "tenth of the cross-entropy; or focal, which counts photographs less that are right already",
        choices=("cross_entropy", "cosine", "focal"),
        group="training", part="loss", affects="result", scripts="train compare")
    focal_gamma: float = setting(
        2.0, "gamma of the focal loss",
        low=0.0, high=10.0, needs=("loss", "focal"), group="training", part="loss", affects="result", scripts="train compare")
    label_smoothing: float = setting(
        0.0, "share of the target probability to spread over all classes",
        low=0.0, high=0.9, group="training", part="loss", affects="result", scripts="train compare")
    mixup: float = setting(
        0.0, "mix each training photograph with another, in shares drawn from Beta(a, a) with this a (0: never)",
        low=0.0, high=10.0, group="training", part="mixing", affects="result", scripts="train compare show_photographs")
    cutmix: float = setting(
        0.0, "replace a rectangle of each training photograph by that of another, of an area drawn from Beta(a, a) with this "
             "a (0: never); together with --mixup each batch draws one of the two",
        low=0.0, high=10.0, group="training", part="mixing", affects="result", scripts="train compare show_photographs")
    class_weights: Optional[str] = setting(
        None, "let photographs of rare classes count for more in the loss: balanced, effective (number of samples), or a CSV "
              "file of class,weight",
        metavar="balanced|effective|FILE", default_text="all count alike",
        group="training", part="balance", affects="result", scripts="train compare")
    effective_beta: float = setting(
        0.999, "beta of --class_weights effective: 0 is no weighting; the nearer 1, the nearer to balanced",
        low=0.0, high=0.999999, needs=("class_weights", "effective"),
        group="training", part="balance", affects="result", scripts="train compare")
    sampler: str = setting(
        "uniform", "photographs of an epoch: each once; or balanced, as many of each class; or sqrt, as many as the square "
                   "root of a class's size",
        choices=("uniform", "balanced", "sqrt"),
        group="training", part="balance", affects="result", scripts="train compare")
    ema_epochs: Optional[float] = setting(
        None, "validate and keep the average of the weights over the training, in which a step counts half after so many "
              "epochs (0: keep the last weights)",
        default_text=BY_RULE, before=0.0, low=0.0, high=1000.0,
        group="training", part="averaging", affects="result", scripts="train compare")
    early_stop: int = setting(
        0, "stop after this many epochs without a better validation accuracy (0: never)",
        low=0, may_grow=True, no_limit=0,
        group="training", part="recording", affects="result", scripts="train compare")
    save_best_above: float = setting(
        0.0, "save best.safetensors only at a validation accuracy above this (0: at any)",
        low=0, high=1, group="training", part="recording", affects="result", scripts="train compare")
    seed: int = setting(
        0, "seed of the split, the initial weights, shuffling, augmentation and all other random choices",
        low=0, high=MAX_SEED,
        group="training", part="training", affects="result",
        scripts="sample_animals train_val_split show_photographs train compare gradcam surgery")
    resume: Optional[str] = setting(
        None, "continue an interrupted training: its run folder, or latest for the run trained last (with --net, of that "
              "network); its settings stay, except that --epochs and --early_stop may grow",
        metavar="FOLDER", group="training", part="run", affects="nothing", scripts="train")
    save_every_steps: int = setting(
        0, "save the training's state every so many steps within an epoch as well (0: only after each epoch)",
        low=0, group="training", part="recording", affects="nothing", scripts="train compare")
    seeds: int = setting(
        1, "trainings of each network, from seed, seed + 1, ...",
        low=1, high=100, group="training", part="comparison", affects="nothing", scripts="compare")
    until: Optional[str] = setting(
        None, "decided: train one seed of each network after the other, of three to ten (or --seeds), until each difference "
              "is decided or further seeds could not decide it",
        choices=("decided",), default_text="as many as --seeds says",
        group="training", part="comparison", affects="nothing", scripts="compare")
    worth: float = setting(
        1.0, "the least difference in accuracy that matters, in points: networks that are surely closer count as equal",
        above=0.0, high=100.0, needs=("until", "decided"),
        group="training", part="comparison", affects="nothing", scripts="compare")
    tune: Optional[float] = setting(
        None, "minutes of tune.py for each network, which find its learning rate and weight decay before its trainings begin",
        above=0.0, high=100_000.0, metavar="MINUTES", default_text="one rule for all networks",
        group="training", part="comparison", affects="nothing", scripts="compare")
    baseline: Optional[str] = setting(
        None, "network that the gains and costs of the others are counted from",
        default_text="the one that trains fastest", metavar="NETWORK",
        group="training", part="comparison", affects="nothing", scripts="compare")
    budget: float = setting(
        60.0, "minutes that the search may take, or the trainings until all is decided",
        default_text="60 for tune.py, any for compare.py",
        above=0.0, high=100_000.0, group="training", part="tuning", affects="nothing", scripts="tune compare")
    parallel: str = setting(
        "auto", "trainings at the same time: auto is one on each GPU, and one on a processor; several on a processor share out "
                "its threads",
        metavar="auto|N", group="machine", part="comparison", affects="nothing", scripts="compare tune")
    ray: Optional[str] = setting(
        None, "train on the nodes of this Ray cluster, each training with one GPU, or all cores of a node; auto is the cluster "
              "that this machine belongs to",
        metavar="auto|ADDRESS", default_text="this machine alone", group="machine", part="comparison", affects="nothing",
        scripts="compare tune")
    learning_rates: Optional[tuple[float, ...]] = setting(
        None, "learning rates to try",
        above=0.0, default_text="steps of the square root of ten around --learning_rate",
        group="training", part="tuning", affects="nothing", scripts="tune")
    weight_decays: Optional[tuple[float, ...]] = setting(
        None, "weight decays to try, each with every learning rate",
        low=0.0, high=1.0, default_text="steps of ten around --weight_decay",
        group="training", part="tuning", affects="nothing", scripts="tune")
    hold_out: float = setting(
        0.25, "share of each class of the training list that the trials do not train on, but are ranked by",
        above=0.0, high=0.9, group="training", part="tuning", affects="nothing", scripts="tune")

    runs_dir: str = setting(
        "runs", "folder of all runs",
        metavar="FOLDER", group="output", part="run", affects="place",
        scripts="train eval compare gradcam predict export serve suspects surgery")
    run: Optional[str] = setting(
        None, "run folder of the network",
        default_text="newest finished run of --net", metavar="FOLDER",
        group="output", part="run", affects="place", scripts="eval gradcam predict export serve surgery")
    runs: Optional[tuple[str, ...]] = setting(
        None, "finished run folders to compare as they are, instead of --nets; suspects.py: one or more of each fold",
        metavar="FOLDER", group="output", part="run", affects="place", scripts="compare gradcam serve suspects")
    picture: str = setting(
        "photographs.png", "file to draw the grid of photographs into",
        metavar="FILE.png", default_text="photographs.png; gradcam.py: gradcam.png in the run folder",
        group="output", part="explanation", affects="place", scripts="show_photographs gradcam")

    output: Optional[str] = setting(
        None, "file to write the predictions into",
        metavar="FILE", default_text="predictions.csv, .json or .jsonl",
        group="output", part="prediction", affects="place", scripts="predict")
    recipe: Optional[str] = setting(
        None, "file to write the recipe with the learning rate and weight decay that were found into as well",
        metavar="FILE.yaml", default_text="only recipe.yaml in the folder of the search", flag="output",
        group="output", part="tuning", affects="place", scripts="tune")
    table_format: str = setting(
        "csv", "format of the predictions: a table, a JSON list, or one JSON object a line",
        choices=("csv", "json", "jsonl"), flag="format",
        group="output", part="prediction", affects="nothing", scripts="predict")
    top: int = setting(
        3, "most probable classes to write for each photograph",
        low=1, high=1000, group="output", part="prediction", affects="nothing", scripts="predict")
    unsure_below: Optional[float] = setting(
        None, "mark predictions with a confidence below this as unsure",
        above=0, high=1, default_text="none", group="output", part="prediction", affects="nothing", scripts="predict serve")
    test_time_flip: bool = setting(
        False, "average the prediction of each photograph with that of its mirror image, which takes twice the time",
        group="data", part="prediction", affects="nothing", scripts="predict")
    sort_into: Optional[str] = setting(
        None, "folder to sort the photographs into, one folder for each class; they themselves stay where they are",
        metavar="FOLDER", group="output", part="prediction", affects="nothing", scripts="predict")
    sort_with: str = setting(
        "link", "sort with symbolic links to the photographs, or with copies",
        choices=("link", "copy"), group="output", part="prediction", affects="nothing", scripts="predict")
    page: bool = setting(
        False, "write an HTML page of small photographs beside the predictions, the least confident first",
        group="output", part="prediction", affects="nothing", scripts="predict")
    strict: bool = setting(
        False, "end with exit code 3 if a photograph cannot be read",
        group="output", part="prediction", affects="nothing", scripts="predict")
    go_on: bool = setting(
        False, "go on with predictions that were interrupted",
        flag="continue", group="output", part="prediction", affects="nothing", scripts="predict")

    export_formats: tuple[str, ...] = setting(
        ("onnx", "paddle", "paddlex"), "forms to export the network in: an ONNX file, a program for Paddle Inference, a folder "
                                       "for PaddleX 3",
        choices=("onnx", "paddle", "paddlex"), flag="format", default_text="onnx paddle paddlex",
        group="output", part="export", affects="nothing", scripts="export")
    licence: Optional[str] = setting(
        None, "licence of the exported network, for its model card", metavar="TEXT", default_text="not stated",
        group="output", part="export", affects="nothing", scripts="export")

    device: str = setting(
        "auto", "device to compute on; auto uses the GPU if Paddle can",
        choices=("auto", "cpu", "gpu"),
        group="machine", part="arithmetic", affects="speed",
        scripts="train eval compare gradcam predict serve suspects surgery")
    threads: Optional[int] = setting(
        None, "CPU threads for the network's arithmetic",
        low=1, default_text="all cores", high=1024,
        group="machine", part="arithmetic", affects="speed",
        scripts="train eval compare gradcam predict export serve suspects surgery")
    processes: int = setting(
        1, "processes that train, evaluate or predict together, one for each GPU, or on a CPU sharing its cores; 0: one for "
           "each GPU that there is; started by paddle.distributed.launch",
        low=0, high=1024, group="machine", part="arithmetic", affects="speed", scripts="train eval compare predict")
    sync_bn: Optional[bool] = setting(
        None, "with several processes: batch norm by the mean and variance of all processes' photographs, so that training is "
              "that of one process",
        default_text="where a process has fewer than 16 photographs of a batch",
        group="machine", part="arithmetic", affects="result", scripts="train compare")
    fused: str = setting(
        "auto", "fused operators: auto uses them where they can be built, on requires them, off never uses them",
        choices=("auto", "on", "off"),
        group="machine", part="arithmetic", affects="speed",
        scripts="train eval compare gradcam predict export serve suspects surgery")
    precision: str = setting(
        "auto", "numbers to compute with: float32, or bfloat16 or float16 where they are exact enough; auto takes bfloat16 "
                "where a GPU has it, float32 elsewhere; a CPU has no float16, and bfloat16 for convolutions alone, if its "
                "flags name avx512_bf16 or amx_bf16",
        choices=("auto", "float32", "bfloat16", "float16"), before="float32",
        group="machine", part="arithmetic", affects="speed", scripts="train eval compare")
    layout: str = setting(
        "auto", "order of feature maps in memory: nchw, or nhwc, channels last, which pays where the tensor cores of a GPU "
                "compute in 16 bits; auto is nchw today, on a GPU too, because nhwc is not yet measured there in 32 bits; "
                "weights are the same",
        choices=("auto", *LAYOUTS), before="nchw",
        group="machine", part="arithmetic", affects="speed", scripts="train eval compare")
    engine: str = setting(
        "auto", "what runs the network on a CPU: dynamic, as in evaluation; or inference, Paddle Inference with oneDNN, which "
                "is faster but takes seconds to start; auto chooses inference for many photographs, as serve.py expects them",
        choices=("auto", "dynamic", "inference"),
        group="machine", part="inference", affects="speed", scripts="predict serve")
    deterministic: bool = setting(
        False, "on a GPU: use only cuDNN algorithms that give the same bits every time, which may be slower; training on a CPU "
               "always does",
        group="machine", part="arithmetic", affects="speed", scripts="train compare")
    num_workers: Optional[int] = setting(
        None, "processes that read photographs; 0: threads of the main process read",
        default_text="on a GPU under Linux cores - 1, at most 8; else 0", low=0, high=256,
        group="machine", part="loading", affects="speed", scripts="train eval compare predict suspects surgery")
    cache: Optional[str] = setting(
        None, "keep the photographs decoded in this folder, for all trainings that name it: made at first use, read many times "
              "faster than the files",
        metavar="DIR", default_text="none", group="machine", part="cache", affects="place", scripts="train compare")
    crops_from: Optional[str] = setting(
        None, "what training cuts its crops from: the photographs' files, or the cache, which has them reduced to the size "
              "that evaluation needs",
        choices=("files", "cache"), before="files", default_text="cache with --cache, else files",
        group="machine", part="cache", affects="result", scripts="train compare")
    host: str = setting(
        "127.0.0.1", "address to serve on; 127.0.0.1 is for this machine alone, 0.0.0.0 lets other machines in as well",
        metavar="ADDRESS", group="machine", part="serving", affects="nothing", scripts="serve")
    port: int = setting(
        8060, "port to serve on (0: any that is free)",
        low=0, high=65535, group="machine", part="serving", affects="nothing", scripts="serve")
    allow_hosts: Optional[tuple[str, ...]] = setting(
        None, "further names by which browsers may call the server, such as that of a proxy before it",
        metavar="NAME", default_text="the address itself; with 127.0.0.1 also localhost",
        group="machine", part="serving", affects="nothing", scripts="serve")
    # fmt: on

    given: frozenset = field(default=frozenset(), compare=False, repr=False)
    """Names that the recipe or the command line set; not a setting itself."""

    def __post_init__(self):
        for item in settings_of(type(self)):
            check_value(item, getattr(self, item.name))
        if self.pretrained and self.init_from is not None:
            raise ConfigError(
                f"init_from = {self.init_from!r} with pretrained: a network starts from one of them, give only one"
            )
        if self.allow_partial and self.init_from is None and not self.pretrained:
            raise ConfigError("allow_partial without init_from: no file is loaded, in part or whole; give --init_from FILE")
        if self.freeze and self.init_from is None and not (self.pretrained or self.resume):
            raise ConfigError(
                f"freeze = {self.freeze} without init_from: the frozen stages would stay random; give --init_from FILE or "
                f"--pretrained"
            )
        if self.class_weights is not None and self.sampler != "uniform":
            raise ConfigError(f"sampler = {self.sampler!r} with class_weights: both make up for rare classes, so give one")
        even = [size for size in self.eca_kernel_sizes or () if size % 2 == 0]
        if even:
            raise ConfigError(
                f"eca_kernel_sizes = {even[0]}: must be odd, so that each channel is in the middle; try {even[0] + 1}"
            )
        if self.attention_stages and list(self.attention_stages) != sorted(self.attention_stages):
            object.__setattr__(self, "attention_stages", tuple(sorted(self.attention_stages)))  # the same network, one name
        if self.warmup_epochs is not None and self.warmup_epochs > self.epochs:
            raise ConfigError(f"warmup_epochs = {self.warmup_epochs:g}: the warm-up cannot outlast epochs = {self.epochs}")
        if self.parallel != "auto" and not (self.parallel.isdecimal() and 1 <= int(self.parallel) <= MOST_PARALLEL):
            raise ConfigError(f"parallel = {self.parallel!r}: expected auto, or a whole number from 1 to {MOST_PARALLEL}")
        if self.ray is not None and self.ray != "auto" and not re.fullmatch(r"[^:/]+:[0-9]{1,5}", self.ray):
            raise ConfigError(f"ray = {self.ray!r}: expected auto, or HOST:PORT of a cluster's first machine")
        if self.ray is not None and self.processes == 0:
            raise ConfigError("processes = 0 with ray: give the number of GPUs that each training is to have")
        if self.parallel not in ("auto", "1") and self.processes != 1 and self.ray is None:
            raise ConfigError(
                f"parallel = {self.parallel} with processes = {self.processes}: either several trainings at the same time, or "
                f"several processes for each; give only one"
            )
        if self.processes != 1 and "-" in (self.images or ()):
            raise ConfigError(f"images = - with processes = {self.processes}: several cannot read a pipe; give folders")
        if self.val_fraction + self.test_fraction > 0.95:
            raise ConfigError(
                f"val_fraction = {self.val_fraction:g} with test_fraction = {self.test_fraction:g}: together at most 0.95, so "
                f"that photographs remain to train on"
            )
        if self.folds == 1:
            raise ConfigError("folds = 1: one fold leaves no photographs to train on; give 2 to 20, or 0 for no folds")
        for name in ("fold", "folds"):
            if getattr(self, name) and not DATASETS[self.dataset].in_folder:
                raise ConfigError(f"{name} = {getattr(self, name)}: only a folder is divided into folds, not {self.dataset}")
        if self.cache is not None and not DATASETS[self.dataset].in_folder:
            raise ConfigError(
                f"cache = {self.cache!r}: it is for photographs in a folder; {self.dataset} is in memory as it is"
            )
        if self.crops_from == "cache" and self.cache is None:
            raise ConfigError("crops_from = 'cache' without cache: give --cache DIR")
        if (self.file_column or self.label_column) and not self.labels:
            raise ConfigError("file_column and label_column name columns of the file that --labels FILE names: give it too")
        if self.resume and self.summary:
            raise ConfigError("summary with resume: a summary trains nothing; leave out one of --summary and --resume")
        if self.seed + self.seeds - 1 > MAX_SEED:
            raise ConfigError(f"seeds = {self.seeds}: counted from seed = {self.seed}, the last exceeds {MAX_SEED:,}")

    def resolved(self) -> "Config":
        """The same settings, with the values filled in whose default depends on the machine."""
        filled: dict[str, Any] = {
            "threads": default_threads(),
            "num_workers": reading_processes(self.device),
        }
        missing = {name: value for name, value in filled.items() if getattr(self, name) is None}
        if self.crops_from is None:
            missing["crops_from"] = "files" if self.cache is None else "cache"
        if self.layout == "auto":
            missing["layout"] = "nchw"  # also for a GPU, until NHWC is measured there
        return dataclasses.replace(self, **missing)

    def over(self, processes: int, keep: bool = False) -> "Config":
        """The same settings for so many processes: whether batch norm is over all is decided, and None for one process.

        ``keep``: what a run has decided stays, though one process may go on with it.
        """
        sync_bn = self.sync_bn
        if processes > 1 and sync_bn is None:
            sync_bn = self.batch_size / processes < SMALL_BATCH
        return dataclasses.replace(self, processes=processes, sync_bn=sync_bn if processes > 1 or keep else None)

    def class_weights_file(self) -> Optional[str]:
        """The file that class_weights names; None where it names a formula, or nothing."""
        return None if self.class_weights in (None, "balanced", "effective") else self.class_weights

    def resolved_for(self, photographs: int) -> "Config":
        """The same settings, with the values filled in that follow from a training list of so many ``photographs``."""
        defaults = training_defaults(self.situation(photographs))
        return dataclasses.replace(self, **{name: defaults[name] for name in self.by_rule()})

    def situation(self, photographs: int) -> Situation:
        """What the rule of the defaults goes by."""
        from_weights = self.pretrained or self.init_from is not None
        optimizer = self.optimizer or ("momentum" if "momentum" in self.given else None)
        depth = depth_of(self.net)
        has_norm = self.net not in WITHOUT_NORM
        return Situation(photographs, self.epochs, self.batch_size * self.accumulate, from_weights, optimizer, depth, has_norm)

    def by_rule(self) -> tuple[str, ...]:
        """The names of the settings that the user left to the rule of the defaults, without options that the network lacks."""
        lacking = options_of_others(self.net)
        return tuple(name for name in DEFAULTS_BY_RULE if getattr(self, name) is None and name not in lacking)

    def decisive(self, *besides: str) -> dict[str, Any]:
        """{name: plain value} of the settings that decide what a training learns, without those named ``besides``."""
        values = self.as_dict()
        return {item.name: values[item.name] for item in settings("train", affects="result") if item.name not in besides}

    def line_of_defaults(self, photographs: int) -> Optional[str]:
        """What ``resolved_for`` fills in, in one line for the user; None where it has nothing to fill in."""
        filled = self.resolved_for(photographs)
        chosen = [f"{name} {_shown(getattr(filled, name))}" for name in self.by_rule() if filled.has_effect(name)]
        return f"{self.situation(photographs)}: {', '.join(chosen)}" if chosen else None

    def data_source(self) -> DataSource:
        """Where the photographs come from."""
        return DataSource(**self.part("data"))

    def part(self, name: str) -> dict[str, Any]:
        """{name: value} of the settings of the part ``name``: the arguments of the function that this part is for.

        Raises ValueError if no setting declares this part.
        """
        return {item.name: getattr(self, item.name) for item in settings_of(type(self), part=name)}

    def network_options(self) -> dict[str, Any]:
        """{name: value} of the network options that the user chose; the network has its own defaults for the others."""
        return {name: value for name, value in self.part("network").items() if value not in (None, False)}

    def attention_of_network(self) -> Optional[str]:
        """The attention layer that the user chose, or else the one that the network's name stands for; None: the builder's."""
        fixed = getattr(NETWORKS[self.net], "fixed", {})
        return self.attention or fixed.get("attention")

    def has_effect(self, name: str) -> bool:
        """False if another setting disables the setting ``name``: with optimizer = adam, momentum has no effect."""
        return all(has_effect(item, self) for item in settings_of(type(self)) if item.name == name)

    def inherit(self, other: "Config", names: Iterable[str]) -> "Config":
        """Take the settings ``names`` from ``other``, except those where the user set them or what they belong to."""
        own = {item.name for item in settings_of(type(self)) if {item.name, item.metadata["belongs_to"]} & self.given}
        taken = {name: getattr(other, name) for name in names if name not in own}
        return dataclasses.replace(self, **taken)

    def continuing(self, trained: "Config", run: object) -> "Config":
        """The settings to continue the run ``run`` with: its own, ``trained``, with the changes that the user may make.

        Raises ConfigError if the user set one for this invocation that would change what the run learns.
        """
        changed = {}
        for item in settings_of(type(self), "train"):
            name, now, then = item.name, getattr(self, item.name), getattr(trained, item.name)
            if item.metadata["belongs_to"] in self.given or item.metadata["is_permission"]:
                changed[name] = now
            if name not in self.given or item.metadata["part"] == "run":  # the caller knows which run it is
                continue
            if item.metadata["may_grow"] and is_lower(item, now, then):
                most = f" ({item.metadata['no_limit']}: no limit)" if item.metadata["no_limit"] is not None else ""
                raise ConfigError(f"{name} = {now}: {run} is trained with {then}{most}; with --resume {name} may only grow")
            if item.metadata["affects"] != "result" or item.metadata["may_grow"]:
                changed[name] = now
            elif now is not None and now != then:  # None: it follows from other settings, as it did in the run
                raise ConfigError(f"{name} = {now!r}: {run} is trained with {then!r}, which cannot change on --resume")
        return dataclasses.replace(trained, **changed, given=self.given)

    def as_dict(self) -> dict[str, Any]:
        """{name: plain value} of every setting, in order, ready for YAML or JSON."""
        values = {item.name: getattr(self, item.name) for item in settings_of(type(self))}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def settings(script: Optional[str] = None, **asked: str) -> list[Field]:
    """The dataclass fields that are settings; ``script`` and ``asked`` select some of them: see settings_of."""
    return settings_of(Config, script, **asked)


def names_of(script: Optional[str] = None, **asked: str) -> tuple[str, ...]:
    """The names of settings, selected as in ``settings``: ``names_of("train", affects="speed")``."""
    return tuple(item.name for item in settings(script, **asked))


def options_of_others(net: str) -> set[str]:
    """The names of the settings that are options of networks, but not of ``net``."""
    return set(names_of(part="network")) - set(options_of(net))


def parse_config(argv: Optional[Sequence[str]] = None, script: Optional[str] = None) -> Config:
    """The settings of one invocation: defaults, then the recipe, then ``argv`` (by default the process's own arguments).

    ``script`` limits the flags to those that this script reads; it defaults to the running script if that is one of SCRIPTS.
    A recipe may hold settings of any script, so that one file serves them all. On a bad setting the process prints one line
    that names the setting and ends with exit code 2.
    """
    return command_line.parse(Config, SCRIPTS, FORMAT, argv, script)


def load_config(path: Union[str, Path]) -> Config:
    """The settings in a run's ``config.yaml``, which this or another version of the toolkit wrote.

    Ignores unknown keys; a missing setting gets the value that it declares for older runs. Raises ConfigError, and FormatError
    if a newer version wrote the file in another format.
    """
    values = read_run_settings(Config, path, FORMAT)
    try:
        return _without_idle_rules(Config(**values))
    except ConfigError as error:  # two values that are valid alone contradict each other
        raise ConfigError(f"{path}: {error}") from None


def config_of_checkpoint(header: dict[str, Any], path: Union[str, Path]) -> Config:
    """The settings in ``header``, which trained.checkpoint read from the checkpoint ``path``; raises ConfigError.

    Another version of the toolkit may have written them: see ``load_config``.
    """
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in header["config"].items()}
    try:
        return _without_idle_rules(Config(**known_values(Config, values)))
    except ConfigError as error:
        raise ConfigError(f"{path}: its settings cannot be used: {error}") from None


def _shown(value):
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else value


def _without_idle_rules(config):
    """``config`` without ``earlier_attention`` if its network has neither SGE nor CBAM: then old and new runs are the same."""
    idle = config.earlier_attention and config.attention_of_network() not in ("sge", "cbam")
    return dataclasses.replace(config, earlier_attention=False) if idle else config
