"""Image files of the user's own."""

from __future__ import annotations

from dualadam.tasks.images.class_folders import read_class_folders
from dualadam.tasks.images.entry import ImageFolderEntry

IMAGE_FOLDER = ImageFolderEntry(
    name="image-folder",
    summary="a folder of yours with train/CLASS and test/CLASS",
    num_train=None,
    subfolder="",
    markers=("train",),
    remedy="Put each image into train/CLASS/ or test/CLASS/.",
    read=read_class_folders,
)
