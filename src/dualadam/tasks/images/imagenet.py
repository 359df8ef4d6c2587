"""ImageNet-1K, with the validation set as the test set."""

from __future__ import annotations

from dualadam.tasks.images.class_folders import read_class_folders
from dualadam.tasks.images.entry import ImageFolderEntry

IMAGENET = ImageFolderEntry(
    name="imagenet",
    summary="ImageNet-1K at 224x224, 1,000 classes",
    num_train=1_255_544,
    shape=(3, 224, 224),
    num_classes=1000,
    subfolder="imagenet",
    markers=("train",),
    remedy=(
        "Ask for ILSVRC 2012 at https://image-net.org and sort train/ and val/ into one folder a "
        "class."
    ),
    read=read_class_folders,
    validation_share=0.02,
    image_size=224,
)
